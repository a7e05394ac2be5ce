"""What a client reads is repeated while the database is away, as long as what it writes."""

from __future__ import annotations

import inspect
from typing import Any, cast

import pytest

from hotmesh import retrying
from hotmesh.client._patient import PatientCalls
from hotmesh.exceptions import BackendError, BackendUnavailableError

CALLS = [name for name, _ in inspect.getmembers(PatientCalls, inspect.iscoroutinefunction)]


class Failing:
    """A backend whose every call fails some times."""

    def __init__(self, *failures: Exception) -> None:
        self.failures = list(failures)
        self.calls = 0

    def __getattr__(self, name: str) -> Any:
        async def call(*arguments: Any) -> Any:
            self.calls += 1
            if self.failures:
                raise self.failures.pop()
            return (name, *arguments)

        return call


async def made(backend: Failing, name: str) -> Any:
    """The answer to a call with as many arguments as it takes."""
    call = getattr(PatientCalls(cast("Any", backend)), name)
    arguments = list(range(len(inspect.signature(call).parameters)))
    assert await call(*arguments) == (name, *arguments)


@pytest.mark.parametrize("name", CALLS)
async def test_a_call_is_repeated_until_it_succeeds(name: str) -> None:
    backend = Failing(BackendUnavailableError("away"), BackendUnavailableError("away"))
    await made(backend, name)
    assert backend.calls == 3


async def test_all_that_is_read_is_repeated() -> None:
    assert {"find", "runs", "journal", "routers"} <= set(CALLS)


async def test_patience_ends_and_other_errors_come_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BackendError, match="refused"):
        await made(Failing(BackendError("refused")), "find")
    monkeypatch.setattr(retrying, "PATIENCE_S", 0.0)
    with pytest.raises(BackendUnavailableError):
        await made(Failing(BackendUnavailableError("away")), "find")
