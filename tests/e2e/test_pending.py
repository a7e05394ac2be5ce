"""What a workflow waits for can be seen: attempts, last failures, and that nobody hosts it."""

import asyncio
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest

from hotmesh import activity, meshflow, workflow
from hotmesh.cli import main
from hotmesh.client import (
    Client,
    PendingActivityState,
    WorkflowUpdateRPCTimeoutOrCancelledError,
    _pending,
)
from hotmesh.client._hosting import Hosts
from hotmesh.common import RetryPolicy
from hotmesh.core import encode_transition, kinds
from hotmesh.exceptions import ApplicationError, RPCError
from support.running import QUEUE, eventually, start, task_failure, working

SECOND = timedelta(seconds=1)
RETRIES = RetryPolicy(
    initial_interval=timedelta(milliseconds=1),
    backoff_coefficient=1e6,
    maximum_interval=timedelta(minutes=5),
    maximum_attempts=9,
)


@activity.defn
async def declines() -> None:
    activity.heartbeat("half")
    raise ValueError("declined")


@workflow.defn
class Waits:
    @workflow.run
    async def run(self, name: str) -> None:
        await workflow.execute_activity(
            name,
            activity_id="the-one",
            start_to_close_timeout=timedelta(seconds=10),
            heartbeat_timeout=timedelta(seconds=10),
            retry_policy=RETRIES,
        )


async def pending(handle: Any) -> Any:
    (found,) = (await handle.describe()).pending_activities
    return found


async def test_a_failing_activity_shows_its_attempts_and_its_last_failure(
    any_client: Client,
) -> None:
    async with working(any_client, Waits, activities=[declines]):
        handle = await start(any_client, Waits.run, "declines")

        async def failed_twice() -> bool:
            described = await handle.describe()
            return any(each.attempt == 3 for each in described.pending_activities)

        await eventually(failed_twice, "two attempts have failed")
        found = await pending(handle)
        assert (found.activity_id, found.activity_type) == ("the-one", "declines")
        assert (found.state, found.maximum_attempts) == (PendingActivityState.SCHEDULED, 9)
        assert "declined" in str(found.last_failure)
        assert found.last_failure_frames[-1].endswith(" in declines")
        assert list(found.heartbeat_details) == ["half"]
        assert found.next_attempt_schedule_time > found.scheduled_time
        assert found.hosted
        assert (await handle.describe()).hosted


async def test_what_nobody_hosts_says_so(any_client: Client) -> None:
    async with working(any_client, Waits):
        handle = await start(any_client, Waits.run, "nobody's")

        async def waits() -> bool:
            return bool((await handle.describe()).pending_activities)

        await eventually(waits, "the activity is scheduled")
        found = await pending(handle)
        assert (found.state, found.attempt) == (PendingActivityState.SCHEDULED, 1)
        assert not found.hosted
        unknown = await start(any_client, "NobodysWorkflow")
        described = await unknown.describe()
        assert not described.hosted
        assert list(described.pending_activities) == []


class Cases:
    """One activity for each way to fail, each in code of its own."""

    def __init__(self) -> None:
        self.never = threading.Event()
        self.tokens: list[bytes] = []

    @activity.defn(name="eager")
    async def eager(self) -> None:
        await deeper("eager")

    @activity.defn(name="after_a_pause")
    async def after_a_pause(self) -> None:
        await asyncio.sleep(0)
        await deeper("paused")

    @activity.defn(name="in_a_thread")
    def in_a_thread(self) -> None:
        raise ValueError("threaded")

    @activity.defn(name="claimed")
    async def claimed(self) -> None:
        activity.heartbeat()
        await deeper("claimed")

    @activity.defn(name="too_long")
    async def too_long(self) -> None:
        await forever()

    @activity.defn(name="too_long_in_a_thread")
    def too_long_in_a_thread(self) -> None:
        self.never.wait(5)

    @activity.defn(name="silent")
    async def silent(self) -> None:
        await forever()

    @activity.defn(name="outside")
    async def outside(self) -> None:
        self.tokens.append(activity.info().task_token)
        activity.raise_complete_async()

    def all(self) -> list[Any]:
        return [
            *(self.eager, self.after_a_pause, self.in_a_thread, self.claimed, self.too_long),
            *(self.too_long_in_a_thread, self.silent, self.outside),
        ]


async def deeper(text: str) -> None:
    raise ValueError(text)


async def forever() -> None:
    await asyncio.Event().wait()


WHERE = {
    "eager": "deeper",
    "after_a_pause": "deeper",
    "in_a_thread": "in_a_thread",
    "claimed": "deeper",
    "too_long": "forever",
    "too_long_in_a_thread": "too_long_in_a_thread",
    "silent": "forever",
    "outside": "refuse",
    "local": "deeper",
}
"""Activity id → the function that its failure is to name."""


@workflow.defn
class AllWays:
    @workflow.run
    async def run(self) -> None:
        def start_one(name: str) -> Any:
            seconds = 0.2 if name.startswith("too_long") else 20
            silence = {"claimed": 10, "outside": 10, "silent": 0.2}.get(name)
            return workflow.start_activity(
                name,
                activity_id=name,
                start_to_close_timeout=timedelta(seconds=seconds),
                heartbeat_timeout=timedelta(seconds=silence) if silence else None,
                retry_policy=LATER,
            )

        calls = [start_one(name) for name in WHERE if name != "local"]
        calls.append(
            workflow.start_local_activity(
                "eager",
                activity_id="local",
                start_to_close_timeout=timedelta(seconds=10),
                retry_policy=LATER,
            )
        )
        await asyncio.gather(*calls)


LATER = RetryPolicy(initial_interval=timedelta(minutes=5), maximum_attempts=4)


async def refuse(client: Client, token: bytes) -> None:
    try:
        raise ValueError("from outside")
    except ValueError as error:
        await client.get_async_activity_handle(task_token=token).fail(error)


async def test_the_last_failure_has_the_users_frames_however_it_came_about(
    any_client: Client,
) -> None:
    cases = Cases()
    with ThreadPoolExecutor(4) as threads:
        options = {"activities": cases.all(), "activity_executor": threads}
        async with working(any_client, AllWays, **options):
            handle = await start(any_client, AllWays.run)

            async def has_come() -> bool:
                return bool(cases.tokens)

            await eventually(has_come, "the activity to complete from outside began")
            await refuse(any_client, cases.tokens[0])

            async def all_failed() -> bool:
                found = (await handle.describe()).pending_activities
                return sum(each.last_failure is not None for each in found) == len(WHERE)

            await eventually(all_failed, "each of them has failed once")
            found = {
                each.activity_id: each for each in (await handle.describe()).pending_activities
            }
            cases.never.set()
    assert {name: each.last_failure_frames[-1] for name, each in found.items()} == {
        name: f"{__file__}:{line_of(found[name])} in {function}" for name, function in WHERE.items()
    }
    assert not any(
        f"/hotmesh/{part}/" in frame
        for each in found.values()
        for frame in each.last_failure_frames
        for part in ("worker", "router")
    )
    assert {each.attempt for each in found.values()} == {2}
    assert {each.maximum_attempts for each in found.values()} == {4}


def line_of(found: Any) -> str:
    return str(found.last_failure_frames[-1]).split(":")[1].split(" ")[0]


def command(url: str, *words: str) -> Any:
    """A command's exit code, in a thread of its own: the test's loop goes on."""
    return asyncio.to_thread(main, [*words, "--url", url])


async def test_every_command_shows_what_a_workflow_waits_for(
    any_client: Client, database_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    async with working(any_client, Waits, activities=[declines]):
        handle = await start(any_client, Waits.run, "declines", id="declined")
        await start(any_client, Waits.run, "nobody's", id="unhosted")
        await start(any_client, "NobodysWorkflow", id="unknown")

        async def failed_twice() -> bool:
            described = await handle.describe()
            return any(each.attempt == 3 for each in described.pending_activities)

        await eventually(failed_twice, "two attempts have failed")
        for words in (["list"], ["describe", "declined"], ["history", "declined"]):
            assert await command(database_url, *words, "--json") == 0
            document = json.loads(capsys.readouterr().out)
            if words == ["list"]:
                listed = {each["workflow_id"]: each for each in document}
                document = listed["declined"]
                (unhosted,) = listed["unhosted"]["pending_activities"]
                assert (unhosted["hosted_by"], unhosted["attempt"]) == ("nobody", 1)
                assert "nobody" in listed["unknown"]["hosted_by"]
                assert "pending_activities" not in listed["unknown"]
            (pending,) = document["pending_activities"]
            assert (pending["type"], pending["attempt"], pending["maximum_attempts"]) == (
                *("declines", 3),
                9,
            )
            assert pending["last_failure"]["type"] == "ValueError"
            assert pending["last_failure"]["where"][-1].endswith(" in declines")
            assert pending["next_attempt"] > pending["scheduled"]
            assert "hosted_by" not in document
            assert await command(database_url, *words) == 0
            shown = capsys.readouterr().out
            parts = [
                "attempt 3 of 9",
                "ValueError: declined",
                f"{__file__}:",
                "in declines",
                "next",
            ]
            assert [part for part in parts if part not in " ".join(shown.split())] == []
        for words in (["describe", "unknown"], ["history", "unknown"], ["list"]):
            assert await command(database_url, *words) == 0
            assert "nobody" in capsys.readouterr().out


@workflow.defn
class Breaks:
    @workflow.run
    async def run(self) -> None:
        raise KeyError("broken")


async def test_every_command_shows_where_a_workflow_task_fails(
    any_client: Client, database_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    async with working(any_client, Breaks, Waits):
        handle = await start(any_client, Breaks.run, id="broken")
        await start(any_client, Waits.run, "nobody's", id="fine")
        await task_failure(handle)
        for words in (
            *(["list"], ["list", "--failing"], ["describe", "broken"], ["history", "broken"]),
            ["list", "--failing", "--query", "WorkflowType = 'Breaks'"],
        ):
            assert await command(database_url, *words, "--json") == 0
            document = json.loads(capsys.readouterr().out)
            if words[0] == "list":
                found = {each["workflow_id"]: each for each in document}
                assert set(found) == ({"broken"} if "--failing" in words else {"broken", "fine"})
                document = found["broken"]
            assert document["task_failure"]["type"] == "KeyError"
            assert document["task_failure"]["where"][-1].startswith(f"{__file__}:")
            assert await command(database_url, *words) == 0
            shown = capsys.readouterr().out
            assert "KeyError: 'broken' at" in shown
            assert "in run" in shown
        assert await command(database_url, "list", "--failing", "--query", "WorkflowType='x'") == 0
        assert "No workflow matches" in capsys.readouterr().out


async def test_a_list_looks_once_at_what_all_its_workflows_wait_for(
    any_client: Client,
    database_url: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    backend = type(any_client.connection.backend)
    asked: list[int] = []
    real = backend.tasks_of_runs

    async def counted(self: Any, namespace: str, run_ids: Any, limit: int) -> Any:
        asked.append(len(run_ids))
        return await real(self, namespace, run_ids, limit)

    for number in range(60):
        await start(any_client, Waits.run, "x", id=f"w-{number}")
    monkeypatch.setattr(backend, "tasks_of_runs", counted)
    assert await command(database_url, "list", "--json", "--limit", "50") == 0
    assert len(json.loads(capsys.readouterr().out)) == 50
    assert asked == [50]


@workflow.defn
class Answers:
    @workflow.run
    async def run(self) -> None:
        await asyncio.Event().wait()

    @workflow.query
    def state(self) -> str:
        return "fine"

    @workflow.update
    async def change(self) -> str:
        return "changed"


async def unanswered(handle: Any) -> list[str]:
    """What a query and an update say that time out."""
    moment = timedelta(milliseconds=300)
    with pytest.raises(RPCError) as query:
        await handle.query("state", rpc_timeout=moment)
    with pytest.raises(WorkflowUpdateRPCTimeoutOrCancelledError) as update:
        await handle.execute_update("change", rpc_timeout=moment)
    return [str(query.value), str(update.value)]


async def test_a_query_and_an_update_that_time_out_say_why(any_client: Client) -> None:
    handle = await start(any_client, "NobodysWorkflow")
    for text in await unanswered(handle):
        assert f"No worker is running for its task queue {QUEUE!r}" in text
    async with working(any_client, Waits):
        for text in await unanswered(handle):
            assert "hosts its type 'NobodysWorkflow'" in text
    async with working(any_client, Breaks):
        broken = await start(any_client, Breaks.run)
        await task_failure(broken)
        with pytest.raises(WorkflowUpdateRPCTimeoutOrCancelledError) as update:
            await broken.execute_update("x", rpc_timeout=timedelta(milliseconds=300))
        assert "Its workflow task fails" in str(update.value)
        assert "KeyError: 'broken'" in str(update.value)


async def test_a_query_that_its_workflow_is_too_slow_for_blames_nobody(client: Client) -> None:
    async with working(client, Answers):
        handle = await start(client, Answers.run)
        assert await handle.query("state") == "fine"
        with pytest.raises(RPCError) as query:
            await handle.query("state", rpc_timeout=timedelta(0))
        assert "No " not in str(query.value)


refusing = meshflow.workflow.proxy_activities(
    activities={"refuses": deeper},
    retry_policy={"initial_interval": "5 minutes", "maximum_attempts": 4},
)


async def asks(text: str) -> None:
    await refusing.refuses(text)


async def breaks() -> None:
    raise KeyError("broken")


async def test_the_function_first_face_shows_the_same(client: Client, sqlite_url: str) -> None:
    options = {"initial_interval": "5 minutes"}
    for function in (asks, breaks):
        await meshflow.Worker.create(connection=sqlite_url, workflow=function, options=options)
    try:
        face = meshflow.Client(connection=sqlite_url)
        waits = await face.workflow.start(workflow_name="asks", args=["no"])
        broken = await face.workflow.start(workflow_name="breaks")
        failing = client.get_workflow_handle(broken.workflow_id)
        assert (await task_failure(failing))["where"][-1].endswith(" in breaks")
        handle = client.get_workflow_handle(waits.workflow_id)

        async def has_failed() -> bool:
            return any(e.last_failure for e in (await handle.describe()).pending_activities)

        await eventually(has_failed, "the activity has failed")
        found = await pending(handle)
        assert (found.activity_type, found.attempt, found.maximum_attempts) == ("refuses", 2, 4)
        assert found.last_failure_frames[-1].endswith(" in deeper")
    finally:
        await meshflow.shutdown()


@workflow.defn
class Child:
    @workflow.run
    async def run(self, ends: bool) -> None:
        await workflow.wait_condition(lambda: ends)
        if workflow.info().workflow_id == "fails":
            raise ApplicationError("no")


@workflow.defn
class Parent:
    @workflow.run
    async def run(self) -> None:
        abandon = workflow.ParentClosePolicy.ABANDON
        for name in ("ends", "fails"):
            ended = await workflow.start_child_workflow(Child.run, True, id=name)
            await asyncio.wait([ended])
        await workflow.start_child_workflow(Child.run, False, id="waits")
        await workflow.start_child_workflow(
            "Unheard of", id="elsewhere", task_queue="nobody's", parent_close_policy=abandon
        )
        taken = asyncio.create_task(workflow.start_child_workflow(Child.run, True, id="waits"))
        await asyncio.wait([taken])
        workflow.upsert_search_attributes({"stage": ["waits"]})
        await workflow.wait_condition(lambda: False)


async def test_the_children_that_a_workflow_waits_for_are_shown(
    any_client: Client, database_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    async with working(any_client, Parent, Child):
        handle = await start(any_client, Parent.run, id="parent")

        async def has_begun() -> bool:
            return "stage" in (await handle.describe()).record

        await eventually(has_begun, "all children have been started")
        described = await handle.describe()
        waits, elsewhere = described.pending_children
        child = await any_client.get_workflow_handle("waits").describe()
        assert (waits.workflow_id, waits.run_id) == ("waits", child.run_id)
        assert (waits.workflow_type, waits.task_queue, waits.hosted) == ("Child", QUEUE, True)
        assert waits.parent_close_policy == workflow.ParentClosePolicy.TERMINATE
        assert described.start_time <= waits.initiated_time <= child.start_time + SECOND
        assert elsewhere.workflow_id == "elsewhere"
        assert (elsewhere.workflow_type, elsewhere.task_queue) == ("Unheard of", "nobody's")
        assert (elsewhere.parent_close_policy.name, elsewhere.hosted) == ("ABANDON", False)

        for words in (["describe", "parent"], ["history", "parent"]):
            assert await command(database_url, *words, "--json") == 0
            shown = json.loads(capsys.readouterr().out)["pending_children"]
            assert [each["id"] for each in shown] == ["waits", "elsewhere"]
            assert (shown[0]["run_id"], shown[0]["type"]) == (child.run_id, "Child")
            assert [each.get("hosted_by") for each in shown] == [None, "nobody"]
            assert shown[1]["parent_close_policy"] == "abandon"
            assert await command(database_url, *words) == 0
            text = " ".join(capsys.readouterr().out.split())
            assert f"Child run {child.run_id}, parent close policy terminate" in text
            assert "hosted by nobody in task queue nobody's" in text

        await handle.terminate()
        assert (await handle.describe()).pending_children == ()


async def test_a_child_that_has_not_started_is_shown_without_a_run(client: Client) -> None:
    """Its parent's worker stopped between asking for it and hearing of it."""
    row = (await (await start(client, Parent.run, id="parent")).describe()).raw_info
    document = {"id": "child", "rid": "00" * 16, "close": 1, "reuse": 1}
    asked = (kinds.CHILD, 1, 0, "Child", json.dumps(document).encode(), b"[]")
    damaged = (kinds.CHILD, 2, 0, "Child", b"{}", b"[]")
    frames = [encode_transition(1_000, [], [asked, damaged])]
    opened = _pending._open_commands(bytes(row.run_id).hex(), frames)
    shown = [_pending._child_shown(row, Hosts([]), *each) for each in opened.children.values()]
    assert shown[1] is None
    assert shown[0] is not None
    assert (shown[0].workflow_id, shown[0].run_id, shown[0].hosted) == ("child", None, False)
