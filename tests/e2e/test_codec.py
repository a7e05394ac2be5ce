"""A payload codec that encrypts: everything works, and nothing readable is stored."""

import asyncio
import dataclasses
import sqlite3
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from hotmesh import activity, workflow
from hotmesh.client import Client, WorkflowQueryFailedError, WorkflowUpdateFailedError
from hotmesh.common import Payload
from hotmesh.converter import (
    DataConverter,
    DefaultFailureConverterWithEncodedAttributes,
    PayloadCodec,
)
from hotmesh.exceptions import ActivityError, ApplicationError, ChildWorkflowError
from support.running import SOON, attempts, execute, failure_of, start, working

SECRET = "s3cr3t"


class Xor(PayloadCodec):
    """Not safe, but unreadable: and it does I/O of a sort."""

    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        await asyncio.sleep(0)
        return [
            Payload({"encoding": b"binary/xor"}, bytes(b ^ 0x5A for b in each.SerializeToString()))
            for each in payloads
        ]

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        await asyncio.sleep(0)
        found: list[Payload] = []
        for each in payloads:
            assert each.metadata["encoding"] == b"binary/xor", "stored without the codec"
            found.append(Payload.FromString(bytes(b ^ 0x5A for b in each.data)))
        return found


HIDING = dataclasses.replace(
    DataConverter.default,
    payload_codec=Xor(),
    failure_converter_class=DefaultFailureConverterWithEncodedAttributes,
)


@pytest.fixture
async def hidden(sqlite_url: str, tmp_path: Path) -> AsyncIterator[Client]:
    """A client with a codec; afterwards nothing secret may be found in its database."""
    async with await Client.connect(sqlite_url, data_converter=HIDING) as client:
        yield client
    database = sqlite3.connect(tmp_path / "hotmesh.db")
    try:
        dump = "\n".join(database.iterdump())
    finally:
        database.close()
    assert "Keeps" in dump  # It is the right place to look.
    assert SECRET not in dump
    assert SECRET.encode().hex().upper() not in dump.upper()


@activity.defn
async def tell(value: str) -> str:
    assert value.startswith(SECRET), value
    activity.heartbeat(f"{SECRET} beat")
    if value.endswith("fail"):
        raise ApplicationError(f"{SECRET} failure", f"{SECRET} detail", type="Told")
    if value.endswith("flaky") and activity.info().attempt == 1:
        raise ApplicationError(f"{SECRET} flake")
    return f"{SECRET} result"


@workflow.defn
class Keeps:
    """Takes a secret in by every door there is, and lets it out by every other."""

    def __init__(self) -> None:
        self.got: list[str] = []

    @workflow.run
    async def run(self, value: str, then: str) -> Any:
        assert value.startswith(SECRET), value
        if then == "memo":
            workflow.upsert_memo({"added": f"{SECRET} added"})
            await workflow.sleep(0.001)
            return workflow.memo()
        if then == "wait":
            await workflow.wait_condition(lambda: bool(self.got))
            return self.got
        if then == "child":
            return await workflow.execute_child_workflow(
                Keeps.run, args=[value, "memo"], memo={"given": f"{SECRET} given"}
            )
        if then == "child fails":
            return await workflow.execute_child_workflow(Keeps.run, args=[value, "fail"])
        if then == "continue":
            workflow.continue_as_new(args=[value, "memo"])
        if then == "fail":
            raise ApplicationError(f"{SECRET} failed", f"{SECRET} detail", type="Kept")
        if then == "retry":
            if workflow.info().attempt < 2:
                raise ApplicationError(f"{SECRET} attempt")
            return str(workflow.get_last_failure())
        if then == "signal":
            handle = await workflow.start_child_workflow(Keeps.run, args=[value, "wait"])
            await handle.signal(Keeps.put, f"{SECRET} signalled")
            return await handle
        if then == "mail":
            workflow.send_signal("letter", f"{SECRET} letter")
            return await workflow.wait_signal("letter")
        kind = workflow.execute_local_activity if then == "local" else workflow.execute_activity
        return await kind(
            tell, f"{value} {then}", start_to_close_timeout=SOON, retry_policy=attempts(2)
        )

    @workflow.signal
    def put(self, value: str) -> None:
        self.got.append(value)

    @workflow.query
    def ask(self, value: str) -> str:
        if not value:
            raise ApplicationError(f"{SECRET} query failed")
        return f"{value} answered"

    @workflow.update
    async def change(self, value: str) -> str:
        await workflow.sleep(0.001)
        if value == "fail":
            raise ApplicationError(f"{SECRET} update failed")
        self.got.append(value)
        return f"{value} updated"

    @change.validator
    def check(self, value: str) -> None:
        if value == "reject":
            raise ApplicationError(f"{SECRET} rejected")


@pytest.mark.parametrize("cached", [1000, 0])
@pytest.mark.parametrize("eager", [True, False])
@pytest.mark.parametrize("then", ["activity", "flaky", "local"])
async def test_activities_take_and_return_what_is_hidden(
    hidden: Client, then: str, eager: bool, cached: int
) -> None:
    async with working(
        hidden,
        Keeps,
        activities=[tell],
        disable_eager_activity_execution=not eager,
        max_cached_workflows=cached,
    ):
        assert await execute(hidden, Keeps.run, SECRET, then) == f"{SECRET} result"


async def test_an_activitys_failure_comes_back_readable(hidden: Client) -> None:
    async with working(hidden, Keeps, activities=[tell]):
        error = await failure_of(execute(hidden, Keeps.run, SECRET, "fail activity fail"))
    assert isinstance(error, ActivityError)
    assert isinstance(error.cause, ApplicationError)
    assert (error.cause.message, *error.cause.details) == (f"{SECRET} failure", f"{SECRET} detail")


@pytest.mark.parametrize("cached", [1000, 0])
@pytest.mark.parametrize(
    ("then", "result"),
    [
        ("memo", {"given": f"{SECRET} memo", "added": f"{SECRET} added"}),
        ("child", {"given": f"{SECRET} given", "added": f"{SECRET} added"}),
        ("continue", {"given": f"{SECRET} memo", "added": f"{SECRET} added"}),
        ("signal", [f"{SECRET} signalled"]),
        ("mail", f"{SECRET} letter"),
    ],
)
async def test_what_workflows_tell_each_other(
    hidden: Client, then: str, result: Any, cached: int
) -> None:
    async with working(hidden, Keeps, max_cached_workflows=cached):
        handle = await start(hidden, Keeps.run, SECRET, then, memo={"given": f"{SECRET} memo"})
        assert await handle.result() == result


async def test_a_changed_memo_is_shown(hidden: Client) -> None:
    async with working(hidden, Keeps):
        handle = await start(hidden, Keeps.run, SECRET, "memo", memo={"given": SECRET})
        await handle.result()
        described = await handle.describe()
    assert await described.memo() == {"given": SECRET, "added": f"{SECRET} added"}


async def test_failures_of_workflows_and_children(hidden: Client) -> None:
    async with working(hidden, Keeps):
        error = await failure_of(execute(hidden, Keeps.run, SECRET, "fail"))
        assert isinstance(error, ApplicationError)
        assert (error.message, *error.details) == (f"{SECRET} failed", f"{SECRET} detail")
        outer = await failure_of(execute(hidden, Keeps.run, SECRET, "child fails"))
        assert isinstance(outer, ChildWorkflowError)
        assert isinstance(outer.cause, ApplicationError)
        assert outer.cause.message == f"{SECRET} failed"


async def test_a_retried_workflow_reads_its_last_failure(hidden: Client) -> None:
    async with working(hidden, Keeps):
        result = await execute(hidden, Keeps.run, SECRET, "retry", retry_policy=attempts(2))
    assert f"{SECRET} attempt" in result


@pytest.mark.parametrize("cached", [1000, 0])
async def test_signals_queries_and_updates(hidden: Client, cached: int) -> None:
    async with working(hidden, Keeps, max_cached_workflows=cached):
        handle = await start(hidden, Keeps.run, SECRET, "wait")
        assert await handle.query(Keeps.ask, SECRET) == f"{SECRET} answered"
        with pytest.raises(WorkflowQueryFailedError, match=f"{SECRET} query failed"):
            await handle.query(Keeps.ask, "")
        for value in ("fail", "reject"):
            with pytest.raises(WorkflowUpdateFailedError) as caught:
                await handle.execute_update(Keeps.change, value)
            assert SECRET in str(caught.value.cause)
        update = await handle.execute_update(Keeps.change, f"{SECRET} changed", id="known")
        assert update == f"{SECRET} changed updated"
        assert await handle.result() == [f"{SECRET} changed"]
        again = handle.get_update_handle_for(Keeps.change, "known")
        assert await again.result() == f"{SECRET} changed updated"
        assert await handle.query(Keeps.ask, SECRET) == f"{SECRET} answered"


async def test_signal_with_start(hidden: Client) -> None:
    async with working(hidden, Keeps):
        handle = await start(
            hidden, Keeps.run, SECRET, "wait", start_signal="put", start_signal_args=[SECRET]
        )
        assert await handle.result() == [SECRET]
