"""Workflows and activities of all kinds, whose results do not depend on what faults there are."""

from __future__ import annotations

import asyncio
import functools
import json
import time
from collections import Counter
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, TypeAlias

from hotmesh import activity, workflow
from hotmesh.common import RetryPolicy
from hotmesh.exceptions import ApplicationError, RPCError

QUEUE = "simulated"

EAGER: dict[str, Any] = {
    "start_to_close_timeout": timedelta(seconds=5),
    "retry_policy": RetryPolicy(
        initial_interval=timedelta(milliseconds=200), maximum_interval=timedelta(seconds=1)
    ),
}
TASK: dict[str, Any] = {**EAGER, "heartbeat_timeout": timedelta(seconds=2)}
"""An activity with a heartbeat timeout never starts without a task."""


ROUND_TRIP_S = 1.0
"""The longest. A worker knows the database's time so well only: where it learns better, what it has
reckoned before is early by as much."""


Attempt: TypeAlias = tuple[bytes, int, int]
"""Run id, seq of the activity, number of the attempt."""


@dataclass
class Record:
    """What the activities of all processes have done: the world outside."""

    on_cancelled: Callable[[Attempt, str], None]
    """Called with an attempt that is told to stop, and why."""
    on_again: Callable[[Attempt], None]
    """Called with an attempt that begins though the activity has returned."""
    on_overtaken: Callable[[Attempt], None]
    """Called with an attempt that begins though a later one has begun."""
    attempts: Counter[Attempt] = field(default_factory=Counter)
    """How often each began."""
    latest: dict[tuple[bytes, int], int] = field(default_factory=dict)
    """The highest attempt that has begun, by run id and seq."""
    returned: set[tuple[bytes, int]] = field(default_factory=set)
    """Run id and seq of activities that have."""
    told: list[tuple[str, int]] = field(default_factory=list)
    """(workflow id, number) of signals that an activity sent and that were accepted."""

    def cancelled(self) -> None:
        """An attempt is told to stop."""
        details = activity.cancellation_details()
        assert details is not None
        for reason in ("not_found", "cancel_requested"):
            if getattr(details, reason):
                self.on_cancelled(_key(), reason)

    def began(self) -> None:
        """An attempt has begun."""
        key = _key()
        self.attempts[key] += 1
        latest = self.latest.setdefault(key[:2], key[2])
        if latest > key[2]:
            self.on_overtaken(key)
        else:
            self.latest[key[:2]] = key[2]
        if key[:2] in self.returned:
            self.on_again(key)

    def ended(self) -> None:
        """An attempt has returned."""
        self.returned.add(_key()[:2])


def large(number: int) -> str:
    """A value that says of itself what it must be."""
    return f"{number};" * (1500 + number % 7 * 500)


def _key() -> Attempt:
    _, run_id, seq, attempt = json.loads(activity.info().task_token)
    return bytes.fromhex(run_id), seq, attempt


def _attempt(
    function: Callable[..., Coroutine[Any, Any, Any]],
) -> Callable[..., Coroutine[Any, Any, Any]]:
    """An activity that can wait, whose attempts are on record."""

    @functools.wraps(function)
    async def run(activities: Activities, *args: Any) -> Any:
        record = activities._record
        record.began()
        try:
            result = await function(activities, *args)
        except asyncio.CancelledError:
            record.cancelled()
            raise
        record.ended()
        return result

    return run


class Activities:
    """The activities of one process."""

    def __init__(self, record: Record) -> None:
        self._record = record

    @activity.defn(name="add")
    async def add(self, number: int) -> int:
        """End at once."""
        self._record.began()
        self._record.ended()
        return number + 1

    @activity.defn(name="add_slowly")
    @_attempt
    async def add_slowly(self, number: int) -> int:
        """End after a while that differs from call to call."""
        await asyncio.sleep(0.01 + number % 7 * 0.09)
        return number + 1

    @activity.defn(name="add_carefully")
    @_attempt
    async def add_carefully(self, number: int) -> int:
        """Heartbeat now and then."""
        for _ in range(number % 5):
            activity.heartbeat(number)
            await asyncio.sleep(0.3)
        return number + 1

    @activity.defn(name="add_at_second")
    @_attempt
    async def add_at_second(self, number: int) -> int:
        """Fail at first; some with a group."""
        await asyncio.sleep(0.01 + number % 3 * 0.4)
        if activity.info().attempt == 1:
            failure = ApplicationError("not yet")
            raise ExceptionGroup("so far", [failure]) if number % 2 else failure
        return number + 1

    @activity.defn(name="carry")
    @_attempt
    async def carry(self, text: str) -> str:
        """Take something large, and give something large."""
        number = int(text.partition(";")[0])
        await asyncio.sleep(0.01 + number % 5 * 0.1)
        return large(number + 1)

    @activity.defn(name="add_for_long")
    @_attempt
    async def add_for_long(self, number: int) -> int:
        """Take longer than a lease."""
        await asyncio.sleep(1.0 + number % 3)
        return number + 1

    @activity.defn(name="last")
    @_attempt
    async def last(self) -> None:
        """Don't end unless told to."""
        await asyncio.sleep(3600)

    @activity.defn(name="look_at_clock")
    async def look_at_clock(self) -> float:
        """The time of the world, whatever clocks say."""
        self._record.began()
        self._record.ended()
        return time.monotonic()

    @activity.defn(name="tell")
    @_attempt
    async def tell(self, workflow_id: str, number: int) -> None:
        """Send a signal; whether it was accepted is known afterwards."""
        try:
            await activity.client().get_workflow_handle(workflow_id).signal("note", number)
        except RPCError:
            return  # closed: the sender knows
        self._record.told.append((workflow_id, number))

    def all(self) -> list[Any]:
        """Every activity, for a worker."""
        return [
            *(self.add, self.add_slowly, self.add_carefully, self.add_for_long),
            *(self.add_at_second, self.look_at_clock, self.tell, self.carry),
            self.last,
        ]


@workflow.defn
class Chain:
    """One activity after the other, of each kind in turn."""

    @workflow.run
    async def run(self, first: int, count: int) -> int:
        number = first
        for _ in range(count):
            name = ACTIVITIES[number % len(ACTIVITIES)]
            is_task = name == "add_carefully" or (number % 11 == 0 and name != "add_for_long")
            options = TASK if is_task else EAGER
            number = await workflow.execute_activity(name, number, **options)
        return number


ACTIVITIES = (
    *("add", "add_slowly", "add_carefully", "add_slowly", "add_for_long"),
    *("add_slowly", "add_at_second"),
)


@workflow.defn
class Fan:
    """Many activities and timers beside each other."""

    @workflow.run
    async def run(self, first: int, count: int) -> int:
        async def one(number: int) -> int:
            await asyncio.sleep(number % 3 * 0.2)
            name = ACTIVITIES[number % len(ACTIVITIES)]
            return await workflow.execute_activity(name, number, **EAGER)

        results = await asyncio.gather(*[one(number) for number in range(first, first + count)])
        return sum(results)


@workflow.defn
class Tree:
    """Children, their children, and a timer that is no longer wanted."""

    @workflow.run
    async def run(self, first: int, count: int) -> int:
        sleeper = asyncio.create_task(asyncio.sleep(3600))
        children = [
            await workflow.start_child_workflow(
                Chain.run,
                args=[first + number, 2],
                id=f"{workflow.info().workflow_id}-{number}",
            )
            for number in range(count)
        ]
        total = sum([await child for child in children])
        sleeper.cancel()
        return await workflow.execute_activity("add", total, **EAGER)


@workflow.defn
class Collect:
    """Waits for signals; what it returns are all that it got."""

    def __init__(self) -> None:
        self.notes: list[int] = []

    @workflow.run
    async def run(self, first: int, count: int) -> list[int]:
        del first
        await workflow.wait_condition(lambda: len(self.notes) >= count)
        await workflow.execute_activity("add", len(self.notes), **EAGER)
        return sorted(self.notes)

    @workflow.signal
    def note(self, number: int) -> None:
        self.notes.append(number)


@workflow.defn
class Hurries:
    """Ends soon after the first signal, however many others wait for it then."""

    def __init__(self) -> None:
        self.notes: list[int] = []

    @workflow.run
    async def run(self, first: int, count: int) -> int:
        await workflow.wait_condition(lambda: bool(self.notes))
        await workflow.execute_activity("add_slowly", first, **EAGER)
        return count

    @workflow.signal
    def note(self, number: int) -> None:
        self.notes.append(number)


@workflow.defn
class Passes:
    """Waits for signals, and goes on in a new run with those that it has got, each time."""

    def __init__(self) -> None:
        self.notes: list[int] = []

    @workflow.run
    async def run(self, first: int, count: int, before: list[int] | None = None) -> list[int]:
        before = before or []
        await workflow.wait_condition(lambda: bool(self.notes) or len(before) >= count)
        if self.notes:
            await asyncio.sleep(first % 3 * 0.1)
            workflow.continue_as_new(args=[first, count, before + self.notes])
        return sorted(before)

    @workflow.signal
    def note(self, number: int) -> None:
        self.notes.append(number)


@workflow.defn
class Naps:
    """Sleeps a few times, never for too short."""

    @workflow.run
    async def run(self, first: int, count: int) -> int:
        for number in range(first, first + count):
            seconds = 1.5 + number % 3
            begun: float = await workflow.execute_activity("look_at_clock", **EAGER)
            await asyncio.sleep(seconds)
            ended: float = await workflow.execute_activity("look_at_clock", **EAGER)
            if ended - begun < seconds - ROUND_TRIP_S:
                raise ApplicationError(f"slept for {ended - begun} s instead of {seconds} s")
        return count


@workflow.defn
class Sends:
    """Signals another workflow that it has started, and waits for it."""

    @workflow.run
    async def run(self, first: int, count: int) -> list[int]:
        child = await workflow.start_child_workflow(
            Collect.run, args=[first, count], id=f"{workflow.info().workflow_id}-collects"
        )
        for number in range(count):
            await child.signal(Collect.note, first + number)
        return await child


@workflow.defn
class Late:
    """Is sent a signal by its own activity just before it ends."""

    def __init__(self) -> None:
        self.notes: list[int] = []

    @workflow.run
    async def run(self, first: int, count: int) -> list[int]:
        for number in range(first, first + count):
            args = [workflow.info().workflow_id, number]
            await workflow.execute_activity("tell", args=args, **EAGER)
        await workflow.execute_activity("add", first, **EAGER)
        return sorted(set(self.notes))

    @workflow.signal
    def note(self, number: int) -> None:
        self.notes.append(number)


@workflow.defn
class Asks:
    """Answers updates until it is told to end."""

    def __init__(self) -> None:
        self.total = 0
        self.answered = 0

    @workflow.run
    async def run(self, first: int, count: int) -> int:
        self.total = first
        await workflow.wait_condition(lambda: self.answered >= count)
        await workflow.wait_condition(workflow.all_handlers_finished)
        return self.total

    @workflow.update
    async def increase(self, number: int) -> int:
        more = await workflow.execute_activity("add_slowly", number, **EAGER)
        self.total += more
        self.answered += 1
        return more


@workflow.defn
class Again:
    """Continues as new a few times."""

    @workflow.run
    async def run(self, first: int, count: int) -> int:
        number = await workflow.execute_activity("add_slowly", first, **EAGER)
        if count > 1:
            workflow.continue_as_new(args=[number, count - 1])
        return number


@workflow.defn
class Endless:
    """Works until it is cancelled or terminated."""

    @workflow.run
    async def run(self, first: int, count: int) -> None:
        del count
        while True:
            await workflow.execute_activity("add_slowly", first, **EAGER)
            await workflow.execute_activity("add_carefully", first, **TASK)
            await asyncio.sleep(0.1)


@workflow.defn
class Lasts:
    """Has activities going on, and hears of its end all the same."""

    @workflow.run
    async def run(self, first: int, count: int) -> None:
        del first
        options = {"start_to_close_timeout": timedelta(hours=2)}
        await asyncio.gather(*[workflow.execute_activity("last", **options) for _ in range(count)])
