"""Fixtures of the whole suite: servers (started when first used), and a fresh place for each test.

Set HOTMESH_TEST_POSTGRES_URL, HOTMESH_TEST_REDIS_URL or HOTMESH_TEST_NATS_URL to test against a
server of your own; tests that kill and restart a server always start a private one.
"""

import contextlib
import importlib.util
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import hypothesis
import pytest

from servers import NatsServer, PostgresServer, RedisCluster, RedisServer
from support.places import drop_postgres_places, postgres_place, redis_place, sqlite_place

SOURCE = Path(__file__).resolve().parent.parent / "python"

hypothesis.settings.register_profile("fast", deadline=None, max_examples=30)
hypothesis.settings.register_profile("full", deadline=None)
hypothesis.settings.register_profile("slow", deadline=None, max_examples=5_000)
hypothesis.settings.load_profile(os.environ.get("HOTMESH_TEST_PROFILE", "fast"))


@dataclass(frozen=True)
class ExternalServer:
    """A server the caller runs and whose address the environment gave; never restarted by us."""

    url: str


def pytest_configure(config: pytest.Config) -> None:
    """Refuse to test the source tree when an installed wheel was to be tested."""
    if os.environ.get("HOTMESH_TEST_INSTALLED") != "1":
        return
    spec = importlib.util.find_spec("hotmesh")
    if spec is None or spec.origin is None:
        raise pytest.UsageError("HOTMESH_TEST_INSTALLED=1, but hotmesh is not installed")
    if Path(spec.origin).resolve().is_relative_to(SOURCE):
        raise pytest.UsageError(f"HOTMESH_TEST_INSTALLED=1, but hotmesh comes from {spec.origin}")


def pytest_report_header(config: pytest.Config) -> str:
    """Name the core under test and where the package comes from."""
    try:
        import hotmesh
        from hotmesh.core import core_info
    except ImportError as error:
        return f"hotmesh: not importable ({error})"
    return f"hotmesh: {core_info()} from {Path(hotmesh.__file__).parent}"


@pytest.fixture(scope="session")
def restartable_postgres() -> Iterator[PostgresServer]:
    """A private Postgres the test may kill and restart; running at the start of each test."""
    with contextlib.closing(PostgresServer()) as server:
        server.start()
        yield server


@pytest.fixture(scope="session")
def restartable_redis() -> Iterator[RedisServer]:
    """A private Redis the test may kill and restart; running at the start of each test."""
    with contextlib.closing(RedisServer()) as server:
        server.start()
        yield server


@pytest.fixture(scope="session")
def postgres_server(
    request: pytest.FixtureRequest,
) -> Iterator[PostgresServer | ExternalServer]:
    """A Postgres on which tests make databases."""
    if url := os.environ.get("HOTMESH_TEST_POSTGRES_URL"):
        yield ExternalServer(url)
        drop_postgres_places(url)
    else:
        yield request.getfixturevalue("restartable_postgres")


@pytest.fixture(scope="session")
def redis_server(request: pytest.FixtureRequest) -> RedisServer | ExternalServer:
    """A Redis on which tests use a prefix each."""
    if url := os.environ.get("HOTMESH_TEST_REDIS_URL"):
        return ExternalServer(url)
    return request.getfixturevalue("restartable_redis")


@pytest.fixture(scope="session")
def redis_cluster() -> Iterator[RedisCluster]:
    """A private Redis Cluster of three masters."""
    with contextlib.closing(RedisCluster()) as cluster:
        cluster.start()
        yield cluster


@pytest.fixture(scope="session")
def nats_server() -> Iterator[NatsServer | ExternalServer]:
    """A NATS server for the event bus."""
    if url := os.environ.get("HOTMESH_TEST_NATS_URL"):
        yield ExternalServer(url)
        return
    with contextlib.closing(NatsServer()) as server:
        server.start()
        yield server


@pytest.fixture
def sqlite_url(tmp_path: Path) -> Iterator[str]:
    """An SQLite file that does not exist yet."""
    with sqlite_place(tmp_path) as url:
        yield url


@pytest.fixture
def postgres_url(postgres_server: PostgresServer | ExternalServer) -> Iterator[str]:
    """An empty Postgres database."""
    with postgres_place(postgres_server.url) as url:
        yield url


@pytest.fixture
def redis_url(redis_server: RedisServer | ExternalServer) -> Iterator[str]:
    """A Redis URL with a key prefix nobody has used."""
    with redis_place(redis_server.url, keep=isinstance(redis_server, RedisServer)) as url:
        yield url


@pytest.fixture
def redis_cluster_url(redis_cluster: RedisCluster) -> Iterator[str]:
    """A Redis Cluster URL with a key prefix nobody has used."""
    with redis_place(redis_cluster.url, keep=True) as url:
        yield url


@pytest.fixture(params=["sqlite", "postgres", "redis"])
def database_url(request: pytest.FixtureRequest) -> str:
    """An empty place on each backend in turn."""
    return request.getfixturevalue(f"{request.param}_url")


@pytest.fixture
def restartable_postgres_url(restartable_postgres: PostgresServer) -> Iterator[str]:
    """An empty database on the Postgres that the test may kill and restart."""
    with postgres_place(restartable_postgres.url) as url:
        yield url


@pytest.fixture
def restartable_redis_url(restartable_redis: RedisServer) -> Iterator[str]:
    """An unused prefix on the Redis that the test may kill and restart."""
    with redis_place(restartable_redis.url, keep=True) as url:
        yield url
