"""The payload codec: what is stored is encoded, what workflow code sees is not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson
import pytest

from hotmesh import workflow
from hotmesh.backends.protocol import RunStatus
from hotmesh.common import Payload
from hotmesh.converter import (
    ActivitySerializationContext,
    DataConverter,
    PayloadCodec,
    SerializationContext,
    WithSerializationContext,
    WorkflowSerializationContext,
    apply_codec,
    apply_codec_to_failure,
)
from hotmesh.core import kinds
from hotmesh.engine import wire
from hotmesh.exceptions import ActivityError, ApplicationError
from hotmesh.router import recovering
from unit.engine.driving import (
    OTHER_RUN,
    RUN_ID,
    child_completed,
    failure,
    fired,
    query,
    signal,
    update,
    value_of,
    values,
)
from unit.router.miniature import Make, Miniature, Place

HIDDEN = "plain as day"
"""What must not be found in anything stored."""


class Xor(PayloadCodec):
    """Hides what it encodes."""

    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        return [self._turned(each, {**each.metadata, "hidden": b"1"}) for each in payloads]

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        return [
            self._turned(each, {k: v for k, v in each.metadata.items() if k != "hidden"})
            for each in payloads
        ]

    def _turned(self, payload: Payload, metadata: dict[str, bytes]) -> Payload:
        return Payload(metadata, bytes(byte ^ 0x55 for byte in payload.data))


CONVERTER = DataConverter(payload_codec=Xor())


async def sealed(*given: Any) -> bytes:
    return await apply_codec(Xor(), values(*given), True)


async def opened(body: bytes) -> Any:
    return value_of(await apply_codec(Xor(), body, False))


def coded(make: Make, *codes: Any, **changes: Any) -> Miniature:
    return make(*codes, codec=Xor(), options={"converter": CONVERTER}, **changes)


async def begin(place: Place, name: str, *args: Any, **header: Any) -> None:
    place.begin(name, **header)
    place.runs[RUN_ID].input = await sealed(*args)


def stored_bytes(place: Place) -> bytes:
    """All that a step has written."""
    found: list[bytes] = []
    for step in place.steps:
        found += [bytes(each) for each in step.journal_frame]
        found += [*step.task_frame, *step.attribute_value, *step.close_result, *step.reply_data]
        found += [item.header + item.input for item in step.starts]
        found += [item.frame for item in step.sends]
        found += [item.data for item in step.mails]
    return b"|".join(found)


async def test_whatever_a_run_asks_for_is_stored_hidden(make: Make, place: Place) -> None:
    async def tells(secret: str) -> str:
        workflow.upsert_memo({"m": secret, "gone": None})
        workflow.send_signal("k", secret)
        workflow.set_query_handler("q", lambda: secret)
        workflow.set_update_handler("u", lambda given: given + secret)
        workflow.start_activity("act", secret, start_to_close_timeout=5)
        await workflow.start_child_workflow("Child", secret, id="c", memo={"m": secret})
        with pytest.raises(ApplicationError, match="not found"):
            await workflow.get_external_workflow_handle("nobody").signal("s", secret)
        await workflow.wait_condition(lambda: False)
        return secret

    mini = coded(make, tells)
    await begin(place, "tells", HIDDEN)
    await mini.settle()
    asked = wire.join_document({"id": "1", "completed": b"c".hex()}, await sealed("x"))
    place.tell((*query("q")[:5], await sealed()), (*update("u")[:5], asked))
    await mini.settle()
    assert await opened(place.replies[b"asked"][1:]) == HIDDEN
    assert await opened(place.replies[b"c"][1:]) == "x" + HIDDEN
    assert HIDDEN.encode() not in stored_bytes(place)
    (task,) = place.tasks.values()
    assert await opened(mini.core.decode_event(task.frame)[5]) == HIDDEN
    child = next(run for run in place.runs.values() if run.workflow_id == "c")
    assert await opened(child.input) == HIDDEN
    memo = wire.load(child.header)["memo"]["m"]
    assert await opened(wire.unpack_bytes(memo)) == HIDDEN
    sent = [item for step in place.steps for item in step.sends]
    assert await opened(mini.core.decode_event(sent[0].frame)[5]) == HIDDEN
    memo_text = orjson.loads(mini.run().attributes["memo:m"])
    assert await opened(wire.unpack_bytes(memo_text)) == HIDDEN
    assert mini.run().attributes["memo:gone"] == b"null"


async def test_a_result_and_a_failure_are_stored_hidden(make: Make, place: Place) -> None:
    async def returns(secret: str) -> str:
        return secret

    async def fails(secret: str) -> None:
        raise ApplicationError("failed", secret)

    mini = coded(make, returns, fails)
    await begin(place, "returns", HIDDEN)
    place.begin("fails", run_id=OTHER_RUN, workflow_id="other", lane=place.runs[RUN_ID].lane)
    place.runs[OTHER_RUN].input = await sealed(HIDDEN)
    await mini.settle()
    assert await opened(mini.run().result) == HIDDEN
    assert mini.run(OTHER_RUN).status == RunStatus.FAILED
    assert HIDDEN.encode() not in stored_bytes(place)


async def test_whatever_reaches_a_run_is_shown_to_it_plain(make: Make, place: Place) -> None:
    async def hears() -> list[Any]:
        heard: list[Any] = []
        workflow.set_signal_handler("s", heard.append)
        with pytest.raises(ActivityError) as raised:
            await workflow.execute_activity("act", start_to_close_timeout=5)
        assert isinstance(raised.value.cause, ApplicationError)
        heard += raised.value.cause.details
        heard.append(await workflow.execute_child_workflow("Child", id="c"))
        return heard

    mini = coded(make, hears)
    await begin(place, "hears")
    await mini.settle()
    place.tasks.clear()
    body = failure(ApplicationError("x", "why"))
    hidden = await apply_codec_to_failure(Xor(), body, True)
    place.tell(
        (*signal("s")[:5], await sealed("said")), (kinds.ACTIVITY_FAILED, 1, 1, "", b"", hidden)
    )
    await mini.settle()
    place.tell((*child_completed(2)[:5], await sealed("child")))
    await mini.settle()
    assert await opened(mini.run().result) == ["said", "why", "child"]


async def test_a_replay_reads_the_journal_and_compares_by_digests(
    make: Make, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def tells(secret: str) -> str:
        await workflow.execute_activity("act", secret, start_to_close_timeout=5)
        await workflow.sleep(60)
        return secret

    first = coded(make, tells)
    await begin(place, "tells", HIDDEN)
    await first.settle()
    place.tasks.clear()
    place.tell((kinds.ACTIVITY_COMPLETED, 1, 1, "", b"", await sealed("done")))
    await first.settle()
    assert first.kinds()[0] == (["START"], ["DIGESTS", "ACTIVITY"])
    for large in (False, True):
        if large:
            monkeypatch.setattr(recovering, "JOURNAL_BYTES_MAX", 1)
        again = coded(make, tells)
        place.tell(signal("anything"))
        await again.settle()
        assert again.task_failure() is None
        assert "hotmesh.arguments_changed" not in again.run().attributes
    again.place.timers.clear()
    place.tell(fired(2))
    await again.settle()
    assert await opened(again.run().result) == HIDDEN


async def test_memo_and_last_failure_of_the_start_are_shown_plain(make: Make, place: Place) -> None:
    async def looks() -> list[Any]:
        error = workflow.get_last_failure()
        assert isinstance(error, ApplicationError)
        return [workflow.memo_value("m"), list(error.details)]

    hidden = await apply_codec_to_failure(Xor(), failure(ApplicationError("x", "why")), True)
    memo = {"m": wire.pack_bytes(await sealed(HIDDEN))}
    mini = coded(make, looks)
    await begin(place, "looks", memo=memo, last_failure=wire.pack_bytes(hidden))
    await mini.settle()
    assert await opened(mini.run().result) == [HIDDEN, ["why"]]


async def test_the_next_runs_of_a_chain_carry_what_is_hidden(make: Make, place: Place) -> None:
    async def again(secret: str, count: int = 1) -> str:
        if count < 2:
            workflow.continue_as_new(args=[secret, count + 1], memo={"m": secret})
        return secret + workflow.memo_value("m")

    mini = coded(make, again)
    await begin(place, "again", HIDDEN)
    await mini.settle()
    _, second = place.runs.values()
    assert await opened(second.result) == HIDDEN * 2
    assert HIDDEN.encode() not in stored_bytes(place)


async def test_whether_a_hidden_failure_is_retried_is_judged_by_what_it_says(
    make: Make, place: Place
) -> None:
    async def fails(secret: str) -> None:
        raise ApplicationError("x", secret, non_retryable=workflow.info().attempt > 1)

    mini = coded(make, fails)
    await begin(place, "fails", HIDDEN, retry={"i": 1, "c": 1.0})
    await mini.settle()
    await mini.pass_seconds(1)
    first, second = place.runs.values()
    assert wire.split_following(first.result)[0]
    assert second.status == RunStatus.FAILED
    assert not wire.split_following(second.result)[0]


async def test_a_codec_that_raises_fails_the_task_of_its_run_only(
    make: Make, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def tells(secret: str) -> str:
        return secret

    async def refuses(self: Xor, payloads: Any) -> Any:
        del self
        raise SystemExit(f"no key for {len(payloads)}")

    mini = coded(make, tells)
    await begin(place, "tells", HIDDEN)
    with monkeypatch.context() as patched:
        patched.setattr(Xor, "decode", refuses)
        await mini.settle()
        found = mini.task_failure()
        assert found is not None
        assert found["type"] == "SystemExit"
    with monkeypatch.context() as patched:
        patched.setattr(Xor, "encode", refuses)
        await mini.pass_seconds(0.3)
        found = mini.task_failure()
        assert found is not None
        assert found["attempt"] == 2
    await mini.pass_seconds(1)
    assert await opened(mini.run().result) == HIDDEN


async def test_a_type_that_is_not_hosted_goes_on_with_a_codec_too(make: Make, place: Place) -> None:
    mini = coded(make)
    await begin(place, "elsewhere", HIDDEN)
    await mini.settle()
    assert mini.resolved == ["side elsewhere"]


class Knowing(Xor, WithSerializationContext):
    """Marks what it encodes with whose it is, and reads nobody else's."""

    def __init__(self, whose: str = "nobody") -> None:
        self.whose = whose.encode()

    def with_context(self, context: SerializationContext) -> Knowing:
        if isinstance(context, ActivitySerializationContext):
            return Knowing(f"activity {context.activity_id}")
        assert isinstance(context, WorkflowSerializationContext)
        return Knowing(f"workflow {context.workflow_id}")

    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        found = await super().encode(payloads)
        return [Payload({**each.metadata, "whose": self.whose}, each.data) for each in found]

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        for each in payloads:
            assert each.metadata["whose"] == self.whose
        plain = [
            Payload({k: v for k, v in each.metadata.items() if k != "whose"}, each.data)
            for each in payloads
        ]
        return await super().decode(plain)


async def test_a_codec_that_wants_to_know_whose_each_payload_is_is_told(
    make: Make, place: Place
) -> None:
    async def calls(word: str) -> list[Any]:
        first = await workflow.execute_activity("act", word, start_to_close_timeout=5)
        workflow.send_signal("k", word)
        second = await workflow.execute_child_workflow("Child", word, id="c")
        return [first, second]

    async def of(whose: str, *given: Any) -> bytes:
        return await apply_codec(Knowing(whose), values(*given), True)

    def begin_again() -> Miniature:
        codec = Knowing()
        converter = DataConverter(payload_codec=codec)
        return make(calls, codec=codec, options={"converter": converter})

    mini = begin_again()
    place.begin("calls")
    place.runs[RUN_ID].input = await of("workflow w", "x")
    await mini.settle()
    (task,) = place.tasks.values()
    place.tasks.clear()
    body = mini.core.decode_event(task.frame)[5]
    assert value_of(await apply_codec(Knowing("activity 1"), body, False)) == "x"
    mini = begin_again()  # which replays, and has to know the activity of the journal
    place.tell((kinds.ACTIVITY_COMPLETED, 1, 1, "", b"", await of("activity 1", "a")))
    await mini.settle()
    assert mini.task_failure() is None
    (mail,) = [item for step in place.steps for item in step.mails]
    assert b"nobody" in mail.data
    child = next(run for run in place.runs.values() if run.workflow_id == "c")
    assert value_of(await apply_codec(Knowing("workflow c"), child.input, False)) == "x"
    place.tell((*child_completed(2)[:5], await of("workflow c", "b")))
    await mini.settle()
    result = await apply_codec(Knowing("workflow w"), mini.run().result, False)
    assert value_of(result) == ["a", "b"]
