"""Activities of the face whose outcome depends on the attempt."""

from types import SimpleNamespace

import pytest

from hotmesh.meshflow import _services


@pytest.mark.parametrize(("attempt", "allowed"), [(1, True), (2, False), (3, False)])
async def test_only_the_first_attempt_allows_an_effect(
    monkeypatch: pytest.MonkeyPatch, attempt: int, allowed: bool
) -> None:
    """A second attempt means that a process died when the effect may have been under way."""
    info = SimpleNamespace(attempt=attempt)
    monkeypatch.setattr(_services.activity, "info", lambda: info)
    assert await _services.allow_effect() is allowed
