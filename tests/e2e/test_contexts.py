"""Serialization contexts: a payload is decoded in the context in which it was encoded."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import pytest

from hotmesh import activity, workflow
from hotmesh.client import Client, WorkflowFailureError
from hotmesh.common import Payload
from hotmesh.converter import (
    CompositePayloadConverter,
    DataConverter,
    JSONPlainPayloadConverter,
    PayloadCodec,
    SerializationContext,
    WithSerializationContext,
)
from hotmesh.exceptions import ApplicationError
from support.running import ONCE, SOON, start, working

mismatches: list[str] = []
contexts: set[str] = set()


def marked(payload: Payload, key: str, value: SerializationContext | None) -> Payload:
    return Payload({**payload.metadata, key: repr(value).encode()}, payload.data)


def checked(payload: Payload, key: str, value: SerializationContext | None) -> Payload:
    written = payload.metadata[key].decode()
    contexts.add(type(value).__name__)
    if written != repr(value):
        mismatches.append(f"{payload.data!r}: written in {written}, read in {value!r}")
    rest = {name: each for name, each in payload.metadata.items() if name != key}
    return Payload(rest, payload.data)


class Marking(JSONPlainPayloadConverter, WithSerializationContext):
    """Marks each payload with its context, and checks it when it is read."""

    context: SerializationContext | None = None

    def with_context(self, context: SerializationContext) -> "Marking":
        bound = Marking()
        bound.context = context
        return bound

    def to_payload(self, value: Any) -> Payload | None:
        payload = super().to_payload(value)
        return None if payload is None else marked(payload, "converter", self.context)

    def from_payload(self, payload: Payload, type_hint: type | None = None) -> Any:
        return super().from_payload(checked(payload, "converter", self.context), type_hint)


class MarkingConverter(CompositePayloadConverter):
    def __init__(self) -> None:
        super().__init__(Marking())


class MarkingCodec(PayloadCodec, WithSerializationContext):
    """The same for a codec."""

    def __init__(self, context: SerializationContext | None = None) -> None:
        self.context = context

    def with_context(self, context: SerializationContext) -> "MarkingCodec":
        return MarkingCodec(context)

    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        return [marked(each, "codec", self.context) for each in payloads]

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        return [checked(each, "codec", self.context) for each in payloads]


CONVERTERS = {
    "converter": dataclasses.replace(
        DataConverter.default, payload_converter_class=MarkingConverter
    ),
    "codec": dataclasses.replace(DataConverter.default, payload_codec=MarkingCodec()),
    "both": dataclasses.replace(
        DataConverter.default,
        payload_converter_class=MarkingConverter,
        payload_codec=MarkingCodec(),
    ),
}


@activity.defn
async def echo(text: str) -> str:
    return text


@activity.defn
async def fails(text: str) -> None:
    activity.heartbeat(text)
    raise ApplicationError("on purpose", text)


@workflow.defn
class Child:
    @workflow.run
    async def run(self, text: str) -> str:
        if text == "fail":
            raise ApplicationError("child failed", text)
        await workflow.wait_condition(lambda: bool(self.told))
        return self.told

    def __init__(self) -> None:
        self.told = ""

    @workflow.signal
    def tell(self, text: str) -> None:
        self.told = text


@workflow.defn
class Everything:
    """Sends values every way there is."""

    def __init__(self) -> None:
        self.told = ""

    @workflow.run
    async def run(self, text: str, again: bool = True) -> list[str]:
        if again:
            workflow.continue_as_new(args=[text, False])
        workflow.upsert_memo({"later": text})
        got = [text, workflow.memo_value("first"), workflow.memo_value("later")]
        for local in (False, True):
            call = workflow.execute_local_activity if local else workflow.execute_activity
            got.append(await call(echo, text, start_to_close_timeout=SOON))
            try:
                await call(fails, text, start_to_close_timeout=SOON, retry_policy=ONCE)
            except Exception as error:
                failed = error if local else error.__cause__
                assert isinstance(failed, ApplicationError)
                got.extend(failed.details)
        child = await workflow.start_child_workflow(Child.run, text, memo={"m": text})
        await child.signal(Child.tell, "told")
        got.append(await child)
        try:
            await workflow.execute_child_workflow(Child.run, "fail")
        except Exception as error:
            assert isinstance(error.__cause__, ApplicationError)
            got.extend(error.__cause__.details)
        workflow.send_signal("key", text)
        got.append(await workflow.wait_signal("key"))
        await workflow.wait_condition(lambda: bool(self.told))
        return got

    @workflow.signal
    def tell(self, text: str) -> None:
        self.told = text

    @workflow.query
    def ask(self, text: str) -> str:
        return text

    @workflow.update
    async def change(self, text: str) -> str:
        if text == "fail":
            raise ApplicationError("update failed", text)
        return text


@pytest.mark.parametrize("cached", [0, 1000])
@pytest.mark.parametrize("kind", CONVERTERS)
async def test_both_sides_know_whose_data_it_is(sqlite_url: str, kind: str, cached: int) -> None:
    mismatches.clear()
    contexts.clear()
    async with (
        await Client.connect(sqlite_url, data_converter=CONVERTERS[kind]) as client,
        working(client, Everything, Child, activities=[echo, fails], max_cached_workflows=cached),
    ):
        handle = await start(client, Everything.run, "x", id="w", memo={"first": "f"})
        assert await handle.query(Everything.ask, "q") == "q"
        assert await handle.execute_update(Everything.change, "u") == "u"
        with pytest.raises(Exception, match="Workflow update failed"):
            await handle.execute_update(Everything.change, "fail")
        await handle.signal(Everything.tell, "t")
        expected = ["x", "f", "x", "x", "x", "x", "x", "told", "fail", "x"]
        assert await handle.result() == expected
        described = await handle.describe()
        assert await described.memo_value("later") == "x"
        failing = await start(client, Child.run, "fail")
        with pytest.raises(WorkflowFailureError):
            await failing.result()
        stopped = await start(client, Everything.run, "x", memo={"first": "f"})
        await stopped.terminate("why", "detail")
        with pytest.raises(WorkflowFailureError):
            await stopped.result()
    assert mismatches == []
    assert {"WorkflowSerializationContext", "ActivitySerializationContext"} <= contexts
