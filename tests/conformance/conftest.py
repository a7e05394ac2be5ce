"""Fixtures of the conformance suite: every test runs on every kind of place there is."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from conformance.mesh import Mesh
from hotmesh.backends.protocol import Backend
from hotmesh.backends.registry import backend_for


@pytest.fixture
def sqlite_memory_url() -> str:
    """This process's memory, which forgets when the test's last backend is closed."""
    return "sqlite://"


@pytest.fixture(params=["sqlite", "sqlite_memory", "postgres", "redis", "redis_cluster"])
def database_url(request: pytest.FixtureRequest) -> str:
    """An empty place of each kind in turn."""
    return request.getfixturevalue(f"{request.param}_url")


@pytest.fixture(params=["sqlite", "postgres", "redis"])
def stored_url(request: pytest.FixtureRequest) -> str:
    """An empty place that outlives its connections."""
    return request.getfixturevalue(f"{request.param}_url")


@pytest.fixture(params=["sqlite", "postgresql", "redis"])
def unreachable_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A place of each kind that can't be opened."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'no' / 'such' / 'folder' / 'hotmesh.db'}"
    return f"{request.param}://127.0.0.1:1/0"


@pytest.fixture
async def backend(database_url: str) -> AsyncIterator[Backend]:
    """An empty backend, connected."""
    backend = backend_for(database_url)
    await backend.connect()
    yield backend
    await backend.close()


@pytest.fixture
async def other(database_url: str, backend: Backend) -> AsyncIterator[Backend]:
    """The same place connected to a second time."""
    backend = backend_for(database_url)
    await backend.connect()
    yield backend
    await backend.close()


@pytest.fixture
async def mesh(backend: Backend) -> AsyncIterator[Mesh]:
    """Shorthands over the backend, with one task queue."""
    mesh = await Mesh.over(backend)
    yield mesh
    await mesh.close()
