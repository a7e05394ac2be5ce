"""Opening a place: concurrently, again, and when it is of a newer version or not there."""

import asyncio
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from conformance.mesh import NAMESPACE, Mesh, new_run_id
from conformance.versions import age_schema
from hotmesh.backends.protocol import RunFilter
from hotmesh.backends.registry import backend_for
from hotmesh.exceptions import (
    BackendAccessError,
    BackendUnavailableError,
    InvalidArgumentError,
    MissingExtraError,
    SchemaVersionError,
)


async def test_a_place_keeps_what_was_stored(stored_url: str) -> None:
    backend = backend_for(stored_url)
    await backend.connect()
    mesh = await Mesh.over(backend)
    run_id = await mesh.start("order")
    await backend.close()

    backend = backend_for(stored_url)
    await backend.connect()
    (row,) = (await backend.runs(RunFilter(NAMESPACE))).rows
    queue_id = await backend.queue_id(NAMESPACE, "work")
    await backend.close()
    assert (row.run_id, queue_id) == (run_id, mesh.queue_id)


async def test_asking_whether_a_place_exists_makes_nothing(stored_url: str) -> None:
    backend = backend_for(stored_url)
    assert not await backend.exists()
    assert not await backend_for(stored_url).exists()
    await backend.connect()
    assert await backend_for(stored_url).exists()
    await backend.close()


async def test_many_may_make_the_schema_at_once(stored_url: str) -> None:
    backends = [backend_for(stored_url) for _ in range(5)]
    await asyncio.gather(*(backend.connect() for backend in backends))
    ids = await asyncio.gather(*(backend.queue_id(NAMESPACE, "work") for backend in backends))
    await asyncio.gather(*(backend.close() for backend in backends))
    assert len(set(ids)) == 1


async def test_a_newer_schema_is_refused(stored_url: str) -> None:
    backend = backend_for(stored_url)
    await backend.connect()
    await backend.close()
    await age_schema(stored_url, 999)

    backend = backend_for(stored_url)
    with pytest.raises(SchemaVersionError) as caught:
        await backend.connect()
    await backend.close()
    assert caught.value.found == 999
    assert caught.value.supported < 999


async def test_a_closed_backend_says_so(stored_url: str) -> None:
    backend = backend_for(stored_url)
    await backend.connect()
    await backend.close()
    with pytest.raises(BackendUnavailableError):
        await backend.results(NAMESPACE, [new_run_id()])
    await backend.close()


async def test_a_place_that_is_not_there_is_unavailable(unreachable_url: str) -> None:
    backend = backend_for(unreachable_url)
    # A folder that is missing does not come by itself.
    kind = BackendAccessError if backend.name == "sqlite" else BackendUnavailableError
    with pytest.raises(kind):
        await backend.connect()
    await backend.close()


async def test_a_password_is_in_no_error_and_no_log(caplog: pytest.LogCaptureFixture) -> None:
    for url in (
        "postgresql://me:s%40cret@127.0.0.1:1/0?connect_timeout=1",
        "redis://me:s%40cret@127.0.0.1:1/0",
        "redis://127.0.0.1:1/0?password=s%40cret",
        "redis+sentinel://me:s%40cret@127.0.0.1:1/mine?sentinel_password=s%40cret",
    ):
        backend = backend_for(url)
        with caplog.at_level("DEBUG"), pytest.raises(BackendUnavailableError) as caught:
            await backend.connect()
        await backend.close()
        said = "".join(str(each) for each in chain(caught.value)) + repr(backend) + caplog.text
        assert "cret" not in said


def chain(error: BaseException | None) -> Iterator[BaseException]:
    """An error and all that is behind it."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


@pytest.mark.parametrize(
    ("kind", "end", "changed"),
    [
        ("postgres", "", "_absent"),
        ("postgres", "", "?sslmode=require"),
        ("postgres", "", "?user=nobody_known"),
        ("postgres", "", "?options=--no_such_option"),
        ("redis", "/0", "/99999"),
    ],
)
async def test_what_does_not_heal_is_said_at_once(
    kind: str, end: str, changed: str, request: pytest.FixtureRequest
) -> None:
    url: str = request.getfixturevalue(f"{kind}_url")
    url = url.replace("hotmesh@", "") if "user=" in changed else url
    backend = backend_for(url.replace(end, changed) if end else f"{url}{changed}")
    async with asyncio.timeout(3):
        with pytest.raises(BackendAccessError):
            await backend.connect()
    await backend.close()


@pytest.mark.parametrize(
    ("query", "kind"),
    [
        ("Schema=x", "postgres"), ("no_such=1", "postgres"), ("statement_timeout=soon", "postgres"),
        ("sslmode=never", "postgres"), ("no_such=1", "redis"), ("mode=rwc", "sqlite"),
    ],
)  # fmt: skip
async def test_a_wrong_parameter_is_refused_by_name(
    query: str, kind: str, request: pytest.FixtureRequest
) -> None:
    url: str = request.getfixturevalue(f"{kind}_url")
    with pytest.raises(InvalidArgumentError, match=query.partition("=")[0]):
        await backend_for(f"{url}{'&' if '?' in url else '?'}{query}").connect()


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:", "sqlite+aiosqlite:///:memory:"])
async def test_a_database_in_memory_is_one_for_the_process(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    one, other = backend_for("sqlite://"), backend_for(url)
    await one.connect()
    await other.connect()
    mesh = await Mesh.over(one)
    run_id = await mesh.start("order")
    (row,) = (await other.runs(RunFilter(NAMESPACE))).rows
    assert row.run_id == run_id
    await one.close()
    await other.close()
    assert not os.path.exists(":memory:")  # noqa: PTH110, ASYNC240 - in the working directory


@pytest.mark.parametrize("url", ["", "order.db", "oracle://here", "/tmp/x.db", "://", "sqlite:"])
def test_a_url_nobody_knows_is_refused(url: str) -> None:
    with pytest.raises(InvalidArgumentError, match="sqlite://"):
        backend_for(url)


@pytest.mark.parametrize(
    ("scheme", "extra", "driver"),
    [
        ("postgres", "postgres", "asyncpg"),
        ("postgresql", "postgres", "asyncpg"),
        ("redis", "redis", "redis"),
        ("redis", "redis", "hiredis"),
        ("rediss", "redis", "redis"),
    ],
)
def test_a_missing_driver_names_the_extra_to_install(
    scheme: str, extra: str, driver: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in list(sys.modules):
        if name.startswith((f"hotmesh.backends.{extra}", f"{driver}.")) or name == driver:
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, driver, None)
    with pytest.raises(MissingExtraError, match=rf"pip install 'hotmesh\[{extra}\]'"):
        backend_for(f"{scheme}://127.0.0.1/0")
