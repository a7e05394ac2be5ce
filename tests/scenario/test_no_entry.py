"""Real servers that let nobody in: what does not heal is said at once, what does is waited for."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import pytest
import redis

from hotmesh import workflow
from hotmesh.backends.registry import backend_for
from hotmesh.client import Client
from hotmesh.exceptions import BackendAccessError, BackendUnavailableError
from hotmesh.worker import Worker
from servers import RedisServer
from support.places import redis_place
from support.running import QUEUE, start, working
from support.secured import (
    ENCRYPTED,
    GUARDED,
    PASSWORD,
    SecuredPostgres,
    SecuredRedis,
    make_certificate,
)

AT_ONCE_S = 3.0


@workflow.defn
class Waits:
    def __init__(self) -> None:
        self.told = False

    @workflow.signal
    def tell(self) -> None:
        self.told = True

    @workflow.run
    async def run(self) -> str:
        await workflow.wait_condition(lambda: self.told)
        await workflow.sleep(0.01)
        return "done"


async def refused(url: str) -> str:
    """What is said to who is not let in."""
    backend = backend_for(url)
    async with asyncio.timeout(AT_ONCE_S):
        with pytest.raises(BackendAccessError) as caught:
            await backend.connect()
    await backend.close()
    assert "wrong-horse" not in str(caught.value)
    return str(caught.value)


async def let_in(url: str) -> None:
    """Who has what is asked for is."""
    backend = backend_for(url)
    await backend.connect()
    await backend.close()


@pytest.fixture(scope="module")
def secured_postgres() -> Iterator[SecuredPostgres]:
    """A private Postgres that asks for more than a name."""
    with contextlib.closing(SecuredPostgres()) as server:
        server.start()
        yield server


@pytest.fixture(scope="module")
def secured_redis() -> Iterator[SecuredRedis]:
    """A private Redis with TLS on one of its ports."""
    with contextlib.closing(SecuredRedis()) as server:
        server.start()
        yield server


async def test_a_postgres_that_asks_for_more(secured_postgres: SecuredPostgres) -> None:
    admin = await asyncpg.connect(secured_postgres.url, ssl=False)
    for name in (GUARDED, ENCRYPTED):
        await admin.execute(f"CREATE ROLE {name} LOGIN SUPERUSER PASSWORD '{PASSWORD}'")
    await admin.close()
    url = secured_postgres.url
    place = url.partition("@")[2]
    trusted = f"sslrootcert={secured_postgres.certificate}"
    assert "password" in await refused(f"postgresql://{GUARDED}:wrong-horse@{place}")
    await let_in(f"postgresql://{GUARDED}:{PASSWORD}@{place}")
    assert "no encryption" in await refused(f"postgresql://{ENCRYPTED}@{place}?sslmode=disable")
    await let_in(f"postgresql://{ENCRYPTED}@{place}?sslmode=require")
    other = secured_postgres.directory / "other.pem"
    make_certificate(other, other.with_suffix(".key"))
    stranger = f"sslmode=verify-full&sslrootcert={other}"
    assert "certificate" in await refused(f"postgresql://{ENCRYPTED}@{place}?{stranger}")
    await let_in(f"postgresql://{ENCRYPTED}@{place}?sslmode=verify-full&{trusted}")


async def test_a_redis_that_asks_for_more(secured_redis: SecuredRedis) -> None:
    trusted = f"?ssl_ca_certs={secured_redis.certificate}"
    plain, encrypted = secured_redis.url, secured_redis.tls_url
    assert "certificate" in await refused(encrypted)
    await let_in(f"{encrypted}{trusted}")
    assert "use rediss://" in await refused(encrypted.replace("rediss://", "redis://"))
    assert "use redis://" in await refused(plain.replace("redis://", "rediss://") + trusted)
    await let_in(plain)
    secured_redis.call("ACL", "SETUSER", GUARDED, "on", f">{PASSWORD}", "+@all", "~*", "&*")
    guarded = plain.replace("://", f"://{GUARDED}:wrong-horse@")
    assert "login" in await refused(guarded)
    await let_in(guarded.replace("wrong-horse", PASSWORD))
    secured_redis.call("ACL", "SETUSER", "default", "resetpass", f">{PASSWORD}")
    assert "password" in await refused(plain)


Full = Callable[[], contextlib.AbstractAsyncContextManager[None]]


@pytest.fixture
async def full_postgres(postgres_user: tuple[Any, str]) -> tuple[str, Full]:
    """Where a worker is, and how to leave no connection for it."""
    server, url = postgres_user
    name = urlsplit(url).username

    @contextlib.asynccontextmanager
    async def full() -> AsyncIterator[None]:
        await server.execute(f"ALTER ROLE {name} CONNECTION LIMIT 0")
        await server.execute(
            f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{name}'"
        )
        yield
        await server.execute(f"ALTER ROLE {name} CONNECTION LIMIT -1")

    return url, full


@pytest.fixture
def full_redis(restartable_redis: RedisServer) -> Iterator[tuple[str, Full]]:
    """The same on Redis."""
    with (
        redis.Redis.from_url(restartable_redis.url, single_connection_client=True) as admin,
        redis_place(restartable_redis.url) as url,
    ):

        @contextlib.asynccontextmanager
        async def full() -> AsyncIterator[None]:
            (_, before) = admin.execute_command("CONFIG GET", "maxclients").popitem()
            admin.config_set("maxclients", 1)
            for kind in ("normal", "pubsub"):
                admin.execute_command("CLIENT KILL", "TYPE", kind, "SKIPME", "yes")
            yield
            admin.config_set("maxclients", before)

        yield url, full


@pytest.fixture(params=["postgres", "redis"])
def place(request: pytest.FixtureRequest) -> tuple[str, Full]:
    """On both kinds of server."""
    return request.getfixturevalue(f"full_{request.param}")


async def unavailable(call: Callable[[], Awaitable[Any]]) -> None:
    """It is said to be away for now, and not to be refused."""
    with pytest.raises(BackendUnavailableError):
        await call()


async def test_a_worker_waits_for_a_free_connection(
    place: tuple[str, Full], caplog: pytest.LogCaptureFixture
) -> None:
    """One that is at work, and one that begins."""
    url, full = place
    async with (
        await Client.connect(url) as client,
        working(client, Waits),
        await Client.connect(url, lazy=True) as another,
    ):
        handle = await start(client, Waits.run)
        with caplog.at_level("WARNING", "hotmesh"):
            async with full():
                await unavailable(backend_for(url).connect)
                worker = asyncio.create_task(
                    Worker(another, task_queue=QUEUE, workflows=[Waits]).run()
                )
                telling = asyncio.create_task(handle.signal(Waits.tell))
                await asyncio.sleep(1)
                assert not telling.done()
                assert not worker.done()
        await telling
        assert await handle.result() == "done"
        worker.cancel()
        await asyncio.wait([worker])
    assert 0 < len(caplog.records) < 12, caplog.text
