"""What was accepted while a workflow was open is handled, however near its end is."""

import asyncio
from typing import Any

from hotmesh import activity, workflow
from hotmesh.client import Client, WorkflowFailureError, WorkflowUpdateFailedError
from hotmesh.exceptions import CancelledError, RPCError, RPCStatusCode, TerminatedError
from support.running import SOON, start, working

RUNS = 30


@workflow.defn
class EndsAtOnce:
    """Ends right after its activity: the message that the activity sent must come first."""

    def __init__(self) -> None:
        self.notes: list[int] = []

    @workflow.run
    async def run(self, what: str, number: int) -> list[int]:
        await workflow.execute_activity("send", args=[what, number], start_to_close_timeout=SOON)
        await workflow.execute_activity("nothing", start_to_close_timeout=SOON)
        return self.notes

    @workflow.signal
    def note(self, number: int) -> None:
        self.notes.append(number)

    @workflow.update
    def ask(self, number: int) -> int:
        self.notes.append(number)
        return number


@activity.defn(name="nothing")
async def nothing() -> None:
    """End at once: such an activity moves its run without a round trip to the database."""


class Sender:
    """An activity that sends something to its own workflow, and has it accepted."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self.asked: dict[int, asyncio.Task[Any]] = {}

    @activity.defn(name="send")
    async def send(self, what: str, number: int) -> None:
        handle = self._client.get_workflow_handle(activity.info().workflow_id)
        if what == "signal":
            await handle.signal(EndsAtOnce.note, number)
        elif what == "cancel":
            await handle.cancel()
        elif what == "terminate":
            await handle.terminate(f"as asked {number}")
        else:
            asked = handle.execute_update(EndsAtOnce.ask, number)
            self.asked[number] = asyncio.create_task(asked)
            await asyncio.sleep(0.01)


async def outcomes_of(client: Client, what: str) -> tuple[list[Any], list[Any]]:
    """What becomes of workflows that are sent something, and of the updates."""
    sender = Sender(client)
    async with working(client, EndsAtOnce, activities=[sender.send, nothing]):
        handles = [await start(client, EndsAtOnce.run, what, number) for number in range(RUNS)]
        results = await asyncio.gather(*[h.result() for h in handles], return_exceptions=True)
        asked = [task for _, task in sorted(sender.asked.items())]
        return results, await asyncio.gather(*asked, return_exceptions=True)


async def test_no_accepted_signal_is_lost_to_the_end_of_its_workflow(any_client: Client) -> None:
    results, _ = await outcomes_of(any_client, "signal")
    assert results == [[number] for number in range(RUNS)]


async def test_an_accepted_cancellation_comes_before_the_end(any_client: Client) -> None:
    results, _ = await outcomes_of(any_client, "cancel")
    assert [type(each) for each in results] == [WorkflowFailureError] * RUNS
    assert {type(each.cause) for each in results} == {CancelledError}


async def test_an_accepted_termination_comes_before_the_end(any_client: Client) -> None:
    results, _ = await outcomes_of(any_client, "terminate")
    assert {type(each.cause) for each in results} == {TerminatedError}


async def test_the_sender_of_an_update_always_hears(any_client: Client) -> None:
    results, answers = await outcomes_of(any_client, "update")
    assert len(answers) == RUNS
    for number, (notes, answer) in enumerate(zip(results, answers, strict=True)):
        if notes:
            assert (notes, answer) == ([number], number)
        else:  # it came when the workflow had ended, and was refused
            assert isinstance(answer, RPCError | WorkflowUpdateFailedError)
            assert getattr(answer, "status", RPCStatusCode.NOT_FOUND) == RPCStatusCode.NOT_FOUND
