"""Activities finished from outside: by token and by ids, with heartbeats and retries."""

from typing import Any

import pytest

from hotmesh.backends.protocol import Step, Tasks
from hotmesh.client import (
    AsyncActivityCancelledError,
    AsyncActivityHandle,
    Client,
    RPCError,
    RPCStatusCode,
    _async_attempt,
)
from hotmesh.client._async_attempt import TaskToken
from hotmesh.converter import DataConverter, decode_failure, decode_values
from hotmesh.core import encode_event, kinds
from hotmesh.engine import wire
from hotmesh.exceptions import ApplicationError, CancelledError, InvalidArgumentError
from hotmesh.limits import LANES_PER_QUEUE
from unit.client.hands import NAMESPACE, QUEUE, Hands, Message, transition

OPTIONS = {"st": 60_000, "retry": {"i": 1, "c": 1.0, "a": 2}, "id": "pay"}
SEQ = 3


class Scene:
    """A workflow with one activity that a worker claimed and left to be finished from outside."""

    def __init__(self, client: Client, hands: Hands, start: Message) -> None:
        self.client = client
        self.hands = hands
        self.start = start
        self.queue_id = start.lane // LANES_PER_QUEUE
        self.attempt = 0

    def token(self) -> TaskToken:
        return TaskToken(NAMESPACE, self.start.run_id, SEQ, self.attempt)

    def by_token(self) -> AsyncActivityHandle:
        return self.client.get_async_activity_handle(task_token=self.token().encode())

    async def claim(self) -> dict[str, Any]:
        """The state the next attempt finds."""
        while True:  # A retried task is due within a millisecond or so.
            reply = await self.client.backend.tasks(
                Tasks(NAMESPACE, self.hands.router_id, self.queue_id, lease_ms=60_000, room=1)
            )
            if reply.tasks:
                self.attempt = int(reply.tasks[0][3])  # type: ignore[call-overload]
                return wire.load(bytes(reply.tasks[0][6]))  # type: ignore[call-overload]


@pytest.fixture
async def scene(client: Client, hands: Hands, monkeypatch: pytest.MonkeyPatch) -> Scene:
    """No worker is there whose function might be about to raise."""
    monkeypatch.setattr(_async_attempt, "RAISED_WITHIN_S", 0.05)
    await client.start_workflow("Greet", id="w", task_queue=QUEUE)
    scene = Scene(client, hands, await hands.next())
    command = (kinds.ACTIVITY, SEQ, scene.queue_id, "pay", wire.dump(OPTIONS), b"[]")
    assert hands.session is not None
    await hands.session.step(
        Step(
            hands.router_id,
            journal_run=[scene.start.run_id],
            journal_seq=[0],
            journal_frame=[transition(command)],
            task_queue=[scene.queue_id],
            task_type=["pay"],
            task_lane=[scene.start.lane],
            task_run=[scene.start.run_id],
            task_seq=[SEQ],
            task_attempt=[0],
            task_delay=[0],
            task_frame=[encode_event(command)],
            task_state=[b""],
        )
    )
    await scene.claim()
    return scene


async def test_completed_by_token(scene: Scene) -> None:
    await scene.by_token().complete({"ok": 1})
    message = await scene.hands.next()
    assert (message.kind, message.seq, message.number) == (kinds.ACTIVITY_COMPLETED, SEQ, 1)
    assert message.args == [{"ok": 1}]


async def test_completed_by_ids(scene: Scene) -> None:
    handle = scene.client.get_async_activity_handle(workflow_id="w", activity_id="pay")
    await handle.complete()
    message = await scene.hands.next()
    assert (message.kind, message.seq, message.args) == (kinds.ACTIVITY_COMPLETED, SEQ, [None])


async def test_cancellation_is_reported(scene: Scene) -> None:
    await scene.by_token().report_cancellation("half", 1)
    message = await scene.hands.next()
    assert message.kind == kinds.ACTIVITY_CANCELED
    error = decode_failure(DataConverter.default, message.body)
    assert isinstance(error, CancelledError)
    assert list(error.details) == ["half", 1]


async def test_a_failure_is_retried_as_its_policy_says_and_then_final(scene: Scene) -> None:
    await scene.by_token().fail(RuntimeError("first"), last_heartbeat_details=[7])
    state = await scene.claim()
    assert scene.attempt == 2
    assert decode_values(DataConverter.default, wire.unpack_bytes(state["d"])) == [7]
    first = decode_failure(DataConverter.default, wire.unpack_bytes(state["f"]))
    assert "first" in str(first)
    await scene.by_token().fail(RuntimeError("second"))
    message = await scene.hands.next()
    assert (message.kind, message.number) == (kinds.ACTIVITY_FAILED, 2)
    assert message.name == "MAXIMUM_ATTEMPTS_REACHED"
    assert wire.load(message.meta) == {"identity": scene.client.identity}


@pytest.mark.parametrize("by_ids", [False, True])
async def test_a_failure_keeps_what_heartbeats_said(scene: Scene, by_ids: bool) -> None:
    handle = scene.by_token()
    if by_ids:
        handle = scene.client.get_async_activity_handle(workflow_id="w", activity_id="pay")
    await handle.heartbeat("half way")
    await handle.fail(RuntimeError("again"))
    state = await scene.claim()
    assert scene.attempt == 2
    assert decode_values(DataConverter.default, wire.unpack_bytes(state["d"])) == ["half way"]
    assert "again" in str(decode_failure(DataConverter.default, wire.unpack_bytes(state["f"])))


async def test_a_final_failure_is_not_retried(scene: Scene) -> None:
    await scene.by_token().fail(ApplicationError("no", non_retryable=True))
    assert (await scene.hands.next()).name == "NON_RETRYABLE_FAILURE"


async def test_a_heartbeat_keeps_its_details(scene: Scene) -> None:
    await scene.by_token().heartbeat("half")
    by_ids = scene.client.get_async_activity_handle(workflow_id="w", activity_id="pay")
    await by_ids.heartbeat("more")


async def test_a_heartbeat_learns_of_the_cancellation(scene: Scene) -> None:
    assert scene.hands.session is not None
    await scene.hands.session.step(
        Step(
            scene.hands.router_id,
            recall_task_run=[scene.start.run_id],
            recall_task_seq=[SEQ],
            recall_task_frame=[b""],
            recall_task_claimed=[True],
        )
    )
    with pytest.raises(AsyncActivityCancelledError) as caught:
        await scene.by_token().heartbeat()
    assert caught.value.details is not None
    assert caught.value.details.cancel_requested


async def test_an_attempt_that_is_over_is_not_found(scene: Scene) -> None:
    await scene.by_token().complete(1)
    with pytest.raises(RPCError) as caught:
        await scene.by_token().heartbeat()
    assert caught.value.status == RPCStatusCode.NOT_FOUND
    nobody = TaskToken(NAMESPACE, b"x" * 16, 1, 1).encode()
    with pytest.raises(RPCError) as caught:
        await scene.client.get_async_activity_handle(task_token=nobody).complete(1)
    assert caught.value.status == RPCStatusCode.NOT_FOUND


async def test_a_token_completes_no_later_attempt(scene: Scene) -> None:
    stale = scene.by_token()
    await stale.fail(RuntimeError("first"))
    await scene.claim()
    for late in (stale.complete(1), stale.report_cancellation(), stale.heartbeat()):
        with pytest.raises(RPCError) as caught:
            await late
        assert caught.value.status == RPCStatusCode.NOT_FOUND
    await scene.by_token().complete(2)
    message = await scene.hands.next()
    assert (message.kind, message.number, message.args) == (kinds.ACTIVITY_COMPLETED, 2, [2])


async def test_a_token_of_another_namespace_is_not_found(scene: Scene) -> None:
    async with await Client.connect(scene.client.backend.url, namespace="other") as other:
        handle = other.get_async_activity_handle(task_token=scene.token().encode())
        for call in (
            handle.complete(1),
            handle.fail(RuntimeError()),
            handle.heartbeat(),
            handle.report_cancellation(),
        ):
            with pytest.raises(RPCError) as caught:
                await call
            assert caught.value.status == RPCStatusCode.NOT_FOUND
    await scene.by_token().heartbeat()


async def test_an_unknown_activity_is_not_found(scene: Scene) -> None:
    handle = scene.client.get_async_activity_handle(workflow_id="w", activity_id="none")
    with pytest.raises(RPCError, match="none"):
        await handle.complete(1)


async def test_how_an_activity_may_be_named(client: Client) -> None:
    for options in (
        {},
        {"workflow_id": "w"},
        {"activity_id": "1"},
        {"task_token": b"x", "activity_id": "1"},
    ):
        with pytest.raises(InvalidArgumentError):
            client.get_async_activity_handle(**options)  # type: ignore[arg-type]
    with pytest.raises(InvalidArgumentError, match="Malformed task token"):
        await client.get_async_activity_handle(task_token=b"x").complete(1)
