"""Opening a place: concurrently, again, and when it is of a newer version or not there."""

import asyncio
import sys

import pytest

from conformance.mesh import NAMESPACE, Mesh, new_run_id
from conformance.versions import age_schema
from hotmesh.backends.protocol import RunFilter
from hotmesh.backends.registry import backend_for
from hotmesh.exceptions import (
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
    (row,) = await backend.runs(RunFilter(NAMESPACE))
    queue_id = await backend.queue_id(NAMESPACE, "work")
    await backend.close()
    assert (row.run_id, queue_id) == (run_id, mesh.queue_id)


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
    with pytest.raises(BackendUnavailableError):
        await backend.connect()
    await backend.close()


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
