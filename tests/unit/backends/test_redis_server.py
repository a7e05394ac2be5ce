"""What only Redis has: scripts, settings, key layout, and a server that goes away."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import redis

from conformance.mesh import NAMESPACE, Mesh, until
from hotmesh.backends.protocol import (
    MailItem,
    MessageKind,
    SendItem,
    StartItem,
    Step,
    WaitItem,
)
from hotmesh.backends.redis import RedisBackend
from hotmesh.exceptions import (
    BackendError,
    BackendUnavailableError,
    InvalidArgumentError,
    SchemaVersionError,
)
from servers import RedisServer


@contextlib.asynccontextmanager
async def connected(url: str) -> AsyncIterator[RedisBackend]:
    backend = RedisBackend(url)
    await backend.connect()
    try:
        yield backend
    finally:
        await backend.close()


@pytest.fixture
async def backend(redis_url: str) -> AsyncIterator[RedisBackend]:
    async with connected(redis_url) as backend:
        yield backend


@pytest.fixture
async def mesh(backend: RedisBackend) -> AsyncIterator[Mesh]:
    mesh = await Mesh.over(backend)
    yield mesh
    await mesh.close()


@pytest.fixture
def server(redis_url: str) -> Iterator["redis.Redis[bytes]"]:
    """A plain client of the server."""
    with redis.Redis.from_url(redis_url.partition("?")[0]) as client:
        yield client


def keys_of(server: Any, url: str) -> set[bytes]:
    (prefix,) = parse_qs(urlsplit(url).query)["prefix"]
    return set(server.scan_iter(match=f"*{prefix}*", count=1000))


def acks(rows: Any) -> dict[str, Any]:
    return {"ack_lane": [row.lane for row in rows], "ack_id": [row.id for row in rows]}


async def test_scripts_are_loaded_again_after_the_server_forgot_them(
    mesh: Mesh, server: Any
) -> None:
    await mesh.start("order")
    server.script_flush()
    await mesh.start("bill")


async def test_a_newer_layout_is_refused(redis_url: str, server: Any) -> None:
    async with connected(redis_url):
        (schema,) = [key for key in keys_of(server, redis_url) if key.endswith(b":schema")]
    server.set(schema, 99)
    with pytest.raises(SchemaVersionError) as caught:
        await RedisBackend(redis_url).connect()
    assert caught.value.found == 99


@pytest.mark.parametrize("url", ["http://x", "redis://h/0?db=x"])
def test_a_url_that_is_not_redis_is_refused(url: str) -> None:
    with pytest.raises(InvalidArgumentError):
        RedisBackend(url)


async def test_an_unknown_option_in_the_url_is_refused() -> None:
    with pytest.raises(InvalidArgumentError, match="no_such_option"):
        await RedisBackend("redis://127.0.0.1/0?no_such_option=1").connect()


async def test_prefixes_share_nothing(redis_url: str) -> None:
    async with connected(redis_url) as one, connected(f"{redis_url}-other") as two:
        mesh = await Mesh.over(one)
        await mesh.start("order")
        assert list(await two.find([(NAMESPACE, "order", b"")])) == [None]


async def test_handled_work_leaves_no_keys_behind(mesh: Mesh, server: Any, redis_url: str) -> None:
    router = await mesh.join()
    await router.read_all(0)
    item = mesh.start_item("order", expire_s=0, attributes=[("a", b"1")], events=[b"signal"])
    lane = item.lane
    before = keys_of(server, redis_url)
    await mesh.start_one(item)
    await router.commit(
        journal_run=[item.run_id],
        journal_seq=[0],
        journal_frame=[b"x"],
        timer_lane=[lane],
        timer_due=[1],
        timer_run=[item.run_id],
        timer_key=[5],
        task_queue=[mesh.queue_id],
        task_type=["pay"],
        task_lane=[lane],
        task_run=[item.run_id],
        task_seq=[1],
        task_attempt=[0],
        task_delay=[0],
        task_frame=[b"task"],
        task_state=[b""],
        waits=[WaitItem(NAMESPACE, "key", lane, item.run_id, b"wait")],
    )
    await router.claim()
    await router.work(
        finish_run=[item.run_id], finish_seq=[1], finish_attempt=[1], finish_frame=[b"done"]
    )
    rows = await router.read_all(3)
    await router.close_run(
        item.run_id,
        lane,
        **acks(rows),
        drop_timer_lane=[lane],
        drop_timer_due=[1],
        drop_timer_run=[item.run_id],
        drop_timer_key=[5],
    )

    async def expired() -> bool:
        await router.beat()
        return list(await mesh.backend.find([(NAMESPACE, "order", b"")])) == [None]

    await until(expired)
    left = keys_of(server, redis_url) - before
    assert {key.rpartition(b"}:")[2] for key in left} <= {
        b"counter",
        b"lane:%d" % lane,  # an empty stream
        b"late_counter",
    }
    assert server.xlen(next(key for key in left if b"lane:" in key)) == 0


async def test_expired_runs_go_as_fast_as_others_close(mesh: Mesh) -> None:
    router = await mesh.join()
    first = [mesh.start_item(f"first-{n}", expire_s=0) for n in range(20)]
    second = [mesh.start_item(f"second-{n}", expire_s=-1) for n in range(10)]
    await mesh.backend.start([*first, *second])

    async def close(items: list[StartItem]) -> None:
        await router.commit(
            close_run=[item.run_id for item in items],
            close_lane=[item.lane for item in items],
            close_status=[2] * len(items),
            close_result=[b""] * len(items),
            close_waits=[False] * len(items),
        )

    await close(first)
    closed_ms = (await router.commit()).now_ms

    async def later() -> bool:
        return (await router.commit()).now_ms > closed_ms

    await until(later)
    await close(second)
    found = await mesh.backend.find([(NAMESPACE, item.workflow_id, b"") for item in first])
    assert list(found) == [None] * 20


async def test_a_timer_of_another_session_is_noticed_behind_the_cursor(mesh: Mesh) -> None:
    router = await mesh.join()
    await router.timers(0)
    item = mesh.start_item("order", delay_ms=1)
    await mesh.start_one(item)
    (timer,) = await router.timers(1)
    assert (timer.lane, timer.run_id, timer.key) == (item.lane, item.run_id, 0)


async def test_more_timers_than_one_read_takes_are_all_returned(mesh: Mesh) -> None:
    router = await mesh.join()
    run_id = await mesh.start("order")
    lane, count = mesh.lane_of("order"), 1_300
    await router.commit(
        timer_lane=[lane] * count,
        timer_due=[5 if n < 700 else n for n in range(count)],
        timer_run=[run_id] * count,
        timer_key=list(range(count)),
    )
    router.seen_timers.clear()
    router.session.forget()
    assert len(await router.timers(count)) == count


async def test_mail_is_given_to_waiters_in_order(mesh: Mesh) -> None:
    router = await mesh.join()
    run_id = await mesh.start("order")
    await router.acknowledge(await router.read_all(1))
    lane = mesh.lane_of("order")
    await router.commit(
        waits=[WaitItem(NAMESPACE, "key", lane, run_id, frame) for frame in (b"1:", b"2:")]
    )
    mails = [MailItem(NAMESPACE, "key", data) for data in (b"a", b"b", b"c")]
    assert list(await mesh.backend.mail(mails)) == [lane, lane]
    assert await router.frames(2) == [b"1:a", b"2:b"]


async def test_a_script_that_fails_leaves_the_connection_usable(mesh: Mesh) -> None:
    with pytest.raises(BackendError, match="start"):
        await mesh.start_one(mesh.start_item("order", lane="x", run_id=b"r" * 16, delay_ms="x"))
    await mesh.start("bill")


@pytest.mark.parametrize(
    ("setting", "value", "finding"),
    [
        ("maxmemory-policy", "allkeys-lru", "maxmemory-policy is allkeys-lru"),
        ("appendfsync", "everysec", "appendfsync is everysec"),
    ],
)
async def test_settings_that_lose_data_are_warned_of(
    redis_url: str,
    server: Any,
    caplog: pytest.LogCaptureFixture,
    setting: str,
    value: str,
    finding: str,
) -> None:
    kept = server.config_get(setting)[setting]
    server.config_set(setting, value)
    try:
        with caplog.at_level(logging.WARNING, "hotmesh"):
            async with connected(redis_url):
                pass
    finally:
        server.config_set(setting, kept)
    assert finding in caplog.text


async def test_a_user_who_may_not_read_settings_is_told_so(
    redis_url: str, server: Any, caplog: pytest.LogCaptureFixture
) -> None:
    server.acl_setuser(
        "plain",
        enabled=True,
        passwords=["+secret"],
        keys=["*"],
        channels=["*"],
        commands=["+@all", "-config"],
    )
    try:
        parts = urlsplit(redis_url)
        url = parts._replace(netloc=f"plain:secret@{parts.netloc}").geturl()
        with caplog.at_level(logging.WARNING, "hotmesh"):
            async with connected(url) as backend:
                await (await Mesh.over(backend)).start("order")
        assert "can't check" in caplog.text
        with pytest.raises(BackendError, match="login"):
            await RedisBackend(url.replace("secret", "wrong")).connect()
    finally:
        server.acl_deluser("plain")


async def test_good_settings_are_not_warned_of(
    redis_url: str, server: Any, caplog: pytest.LogCaptureFixture
) -> None:
    assert server.config_get("appendfsync")["appendfsync"] == "always"
    with caplog.at_level(logging.WARNING, "hotmesh"):
        async with connected(redis_url):
            pass
    assert caplog.text == ""


async def test_an_unreachable_server_is_unavailable() -> None:
    with pytest.raises(BackendUnavailableError, match=r"127\.0\.0\.1:1 "):
        await RedisBackend("redis://127.0.0.1:1/0").connect()


async def test_a_lost_server_loses_nothing_that_was_acknowledged(
    restartable_redis: RedisServer, restartable_redis_url: str
) -> None:
    async with connected(restartable_redis_url) as backend:
        mesh = await Mesh.over(backend)
        router = await mesh.join()
        run_id = await mesh.start("order")
        before = await router.read_all(1)
        hints: list[str | None] = []
        again = asyncio.Event()

        def called(payload: str | None) -> None:
            hints.append(payload)
            again.set()

        await backend.listen("lanes:1", called)
        restartable_redis.restart(kill9=True)
        with pytest.raises(BackendUnavailableError):
            await router.step(room=10)
        # Idle connections were lost as well: calls that may be repeated find out by themselves.
        assert (await mesh.send("order", b"signal")).delivered
        rows = await router.read_all(2)
        assert rows[0] == before[0]
        assert {row.run_id for row in rows} == {run_id}
        async with asyncio.timeout(20):
            await again.wait()
        assert hints == [None]
        again.clear()
        await backend.notify([("lanes:1", "x")])
        async with asyncio.timeout(20):
            await again.wait()
        assert hints == [None, "x"]
        await mesh.close()


async def test_a_cancelled_call_does_not_leave_its_answer_to_the_next(mesh: Mesh) -> None:
    router = await mesh.join()
    run_id = await mesh.start("order")
    call = asyncio.ensure_future(router.read())
    await asyncio.sleep(0)
    call.cancel()
    await asyncio.gather(call, return_exceptions=True)
    router.session.forget()
    (row,) = await router.read_all(1)
    assert row.run_id == run_id


@pytest.mark.parametrize("namespace", ["ünï/x", "a}b{c", "with space"])
async def test_any_namespace_works(backend: RedisBackend, namespace: str) -> None:
    queue_id = await backend.queue_id(namespace, "work")
    mesh = Mesh(backend, queue_id)
    router = await mesh.join(namespace=namespace)
    run_id = await mesh.start("order", namespace=namespace)
    assert [row.run_id for row in await router.read_all(1)] == [run_id]
    await mesh.close()


async def test_a_session_of_a_router_that_joined_elsewhere(mesh: Mesh, redis_url: str) -> None:
    router = await mesh.join()
    run_id = await mesh.start("order")
    async with connected(redis_url) as other:
        session = await other.session(NAMESPACE, router.router_id, 1_000)
        reply = await session.step(Step(router.router_id, lanes=router.lanes, room=10))
        assert [row[2] for row in reply.messages] == [run_id]
        await session.close()


async def test_an_event_for_a_run_that_is_gone_is_not_counted(mesh: Mesh, server: Any) -> None:
    router = await mesh.join()
    gone = b"g" * 16
    await router.commit(
        message_lane=[router.lanes[0]],
        message_run=[gone],
        message_kind=[MessageKind.EVENT],
        message_frame=[b"x"],
    )
    assert await router.read() == []
    assert list(await mesh.backend.results(NAMESPACE, [gone])) == [(gone, 0, b"")]
    item = SendItem(NAMESPACE, "order", gone, MessageKind.EVENT, b"x", True)
    (outcome,) = await mesh.backend.send([item])
    assert (outcome.delivered, outcome.status) == (False, 0)
