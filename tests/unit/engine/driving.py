"""One run of a workflow, driven by hand: events in, commands out, as a router does it.

No database, no thread, no clock but the one handed in. What a router would journal is kept, checked
against the core's ledger, and can be replayed into the same code or into other code.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Awaitable, Callable, Sequence
from types import ModuleType
from typing import Any

import orjson

import hotmesh.core
from hotmesh.converter import (
    DataConverter,
    decode_failure,
    decode_values,
    encode_failure,
    encode_values,
)
from hotmesh.core import Event, Transition, kinds
from hotmesh.engine import wire
from hotmesh.engine.definition import WorkflowDefinition
from hotmesh.engine.details import EngineOptions, RunDetails
from hotmesh.engine.instance import WorkflowInstance
from hotmesh.router import replaying
from hotmesh.router.replaying import Engine
from hotmesh.router.state import RunState
from hotmesh.router.watchdog import Watchdog

CONVERTER = DataConverter.default
RUN_ID = bytes(range(1, 17))
OTHER_RUN = b"o" * 16
START_MS = 1_700_000_000_000
"""When runs begin."""

Code = Callable[..., Awaitable[Any]] | type | WorkflowDefinition


def values(*given: Any) -> bytes:
    """Values as they travel."""
    return encode_values(CONVERTER, given, "values of a test")


def value_of(body: bytes) -> Any:
    """The single value of a body."""
    (value,) = decode_values(CONVERTER, body)
    return value


def failure(error: BaseException) -> bytes:
    """A failure as it travels."""
    return encode_failure(CONVERTER, error)


# What reaches a run

START: Event = (kinds.START, 0, 0, "", b"", b"")
_identities = itertools.count(1)


def completed(seq: int, value: Any = None) -> Event:
    """An activity has completed."""
    return (kinds.ACTIVITY_COMPLETED, seq, 1, "", b"", values(value))


def failed(seq: int, error: BaseException, state: str = "") -> Event:
    """An activity has failed for good."""
    return (kinds.ACTIVITY_FAILED, seq, 1, state, b"", failure(error))


def canceled(seq: int, error: BaseException) -> Event:
    """An activity has ended because it was to."""
    return (kinds.ACTIVITY_CANCELED, seq, 1, "", b"", failure(error))


def timed_out(seq: int, purpose: int, last: BaseException | None = None) -> Event:
    """A deadline of an activity has passed: 1 schedule-to-start, 2 schedule-to-close."""
    body = b"" if last is None else failure(last)
    return (kinds.ACTIVITY_TIMED_OUT, seq, purpose, "", b"", body)


def fired(seq: int) -> Event:
    """A timer has fired."""
    return (kinds.TIMER_FIRED, seq, 0, "", b"", b"")


def signal(name: str, *args: Any, headers: dict[str, Any] | None = None) -> Event:
    """A signal."""
    body = wire.join_document({"h": headers} if headers else {}, values(*args))
    return (kinds.SIGNAL, 0, 0, name, b"%d" % next(_identities), body)


def update(name: str, *args: Any, id: str = "u", **document: Any) -> Event:  # noqa: A002
    """An update; who waits for it gets replies of the ids ``b"accepted"`` and ``b"completed"``."""
    waits = {"accepted": b"accepted".hex(), "completed": b"completed".hex()}
    body = wire.join_document({"id": id, **waits, **document}, values(*args))
    return (kinds.UPDATE, 0, 0, name, b"%d" % next(_identities), body)


def query(name: str, *args: Any, reply: bytes = b"asked", **document: Any) -> Event:
    """A query, to be answered under an id."""
    return (kinds.QUERY, 0, 0, name, reply, wire.join_document(document, values(*args)))


def cancel(reason: str = "") -> Event:
    """The run is to be cancelled."""
    return (kinds.CANCEL, 0, 0, "", b"%d" % next(_identities), reason.encode())


def child_started(seq: int, run_id: bytes = OTHER_RUN) -> Event:
    """A child has started."""
    return (kinds.CHILD_STARTED, seq, 0, "", run_id, b"")


def child_not_started(seq: int, run_id: bytes = OTHER_RUN) -> Event:
    """The id of a child is taken."""
    return (kinds.CHILD_START_FAILED, seq, 0, "", run_id, b"")


def child_completed(seq: int, value: Any = None) -> Event:
    """A child has completed."""
    return (kinds.CHILD_COMPLETED, seq, 2, "", OTHER_RUN, values(value))


def child_failed(seq: int, error: BaseException) -> Event:
    """A child has failed."""
    return (kinds.CHILD_FAILED, seq, 3, "", OTHER_RUN, failure(error))


def sent(seq: int) -> Event:
    """A signal or request to another workflow is stored there."""
    return (kinds.EXTERNAL_DONE, seq, 0, "", b"", b"")


def not_sent(seq: int) -> Event:
    """There is no such workflow."""
    return (kinds.EXTERNAL_FAILED, seq, 0, "", b"", b"")


def mail(seq: int, value: Any) -> Event:
    """What a run waits for under a key has come."""
    return (kinds.MAIL, seq, 0, "", b"", values(value))


# What a run asks for


def shown(commands: Sequence[Event]) -> list[tuple[Any, ...]]:
    """Commands as (name of the kind, seq, name): what a replay compares."""
    return [(kinds.NAMES[each[0]], each[1], each[3]) for each in commands]


def kinds_of(commands: Sequence[Event]) -> list[str]:
    """The names of commands' kinds."""
    return [kinds.NAMES[each[0]] for each in commands]


def options_of(command: Event) -> dict[str, Any]:
    """The document in a command's meta."""
    return orjson.loads(command[4])


class Driven:
    """A run.

    Args:
        code: A coroutine function, a workflow class, or a definition.
        args: What it is started with.
        core: The implementation of the core that keeps the ledger and decodes the journal.
        header: The document that came with its start.
        run_id: Which run it is.
        workflow_id: Of which workflow.
        options: Of the worker, see ``EngineOptions``.
    """

    def __init__(
        self,
        code: Code,
        *args: Any,
        core: ModuleType = hotmesh.core,
        header: dict[str, Any] | None = None,
        run_id: bytes = RUN_ID,
        workflow_id: str = "w",
        **options: Any,
    ) -> None:
        self.core = core
        self.definition = definition_of(code)
        self.options = EngineOptions(**{"converter": CONVERTER, **options})
        self.details = RunDetails(
            "n", workflow_id, run_id, self.definition.name or "Any", "q", 64, header or {}, b""
        )
        self.details.input = encode_values(self.options.converter, args, "arguments")
        self.journal: list[Transition] = []
        self.replies: dict[bytes, bytes] = {}
        """The answers of the latest activation."""
        self.now_ms = START_MS
        self.ledger = core.Ledger()
        make = self.options.make_instance or WorkflowInstance
        self.instance: WorkflowInstance = make(self.definition, self.details, self.options)

    # Driving

    def start(self, *jobs: Event) -> list[Event]:
        """Begin, with what came before anybody has looked; the commands."""
        return self.give(START, *jobs)

    def give(self, *jobs: Event, at: float = 0) -> list[Event]:
        """Hand events to the run's code and take the commands.

        Args:
            jobs: In the order in which they were stored.
            at: How many seconds after the beginning; not before the latest activation.
        """
        self.now_ms = max(self.now_ms, START_MS + round(at * 1000))
        recorded = [job for job in jobs if job[0] != kinds.QUERY]
        for job in recorded:
            assert self.ledger.accept(job), f"the core would not deliver {job}"
        commands = list(self.instance.activate(self.now_ms, jobs))
        for command in commands:
            self.ledger.command(command)
        self.replies = dict(self.instance.replies)
        self.instance.replies = []
        if recorded or commands:
            self.journal.append((self.now_ms, recorded, commands))
            self.instance.transitions += 1
        return commands

    def ask(self, name: str, *args: Any, **document: Any) -> Any:
        """The answer to a query.

        Raises:
            BaseException: what the query failed with.
        """
        self.give(query(name, *args, **document))
        return answer(self.replies[b"asked"])

    # Looking

    def outcome(self) -> Any:
        """What the run has come to: its result.

        Raises:
            BaseException: what it failed with.
        """
        command = self.closing()
        if command[0] == kinds.COMPLETE:
            (value,) = decode_values(self.options.converter, command[5])
            return value
        raise decode_failure(self.options.converter, command[5])

    def closing(self) -> Event:
        """The command that has ended the run."""
        command = self.journal[-1][2][-1]
        assert command[0] in kinds.CLOSE_STATUS, f"still open, after {command}"
        return command

    @property
    def is_open(self) -> bool:
        """Whether nothing has ended the run."""
        return not self.instance.closed

    # Replaying

    def frames(self) -> list[bytes]:
        """The journal as stored."""
        return [self.core.encode_transition(*each) for each in self.journal]

    def replayed(self, code: Code | None = None, **changes: Any) -> Driven:
        """The run, brought up from its journal as by another worker.

        Args:
            code: What the run's code is now; the same by default.
            changes: Of the worker's options.

        Raises:
            BaseException: as ``Engine.bring_up``.
        """
        given = {
            each.name: getattr(self.options, each.name)
            for each in dataclasses.fields(EngineOptions)
            if each.init
        }
        definition = dataclasses.replace(
            definition_of(code or self.definition), name=self.definition.name
        )
        other = Driven(definition, core=self.core, **given | changes)
        other.details = self.details
        state = RunState(self.details)
        frames = self.frames()
        state.remember(
            [self.core.decode_transition(each) for each in frames], list(map(len, frames))
        )
        engine = Engine({definition.name: definition}, other.options)
        matched, replaying.match_commands = replaying.match_commands, self.core.match_commands
        try:
            other.instance = engine.bring_up(state, Watchdog(0))
        finally:
            replaying.match_commands = matched
        other.journal, other.now_ms = list(self.journal), self.now_ms
        other.ledger = self.ledger
        other.changed_arguments = state.changed_arguments
        return other

    changed_arguments = ""
    """What the replay has called with other arguments."""


def answer(data: bytes) -> Any:
    """What a reply says.

    Raises:
        BaseException: the failure in it.
    """
    status, rest = data[:1], data[1:]
    if status == b"R":
        return value_of(rest)
    assert status in (b"F", b"X"), data
    raise decode_failure(CONVERTER, rest)


def definition_of(code: Code) -> WorkflowDefinition:
    """What a worker hosts when it is given this."""
    if isinstance(code, WorkflowDefinition):
        return code
    if isinstance(code, type):
        found = WorkflowDefinition.of(code)
        assert found is not None, f"{code} is no workflow"
        return found
    return WorkflowDefinition.from_function(code)
