"""What a pipe remembers of a run besides the core's ledger."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson

from hotmesh.core import Event, Transition, kinds
from hotmesh.core.journal import Journal, Transitions
from hotmesh.core.kinds import CHILD_OUTCOMES
from hotmesh.engine import wire
from hotmesh.engine.arguments import ArgumentDigests
from hotmesh.engine.details import RunDetails
from hotmesh.engine.instance import WorkflowInstance
from hotmesh.exceptions import CorruptRowError, HotMeshError
from hotmesh.router.codecs import RunCodecs

LARGE_BYTES = 64 * 1024
"""Runs of which it is noted when they move: only the largest one is ever asked."""

DAMAGED_ATTRIBUTE = b'{"hotmesh.damaged":'
"""What a backend puts in the place of a value of the record that is no JSON."""


class RunState:
    """A run in this pipe's cache.

    Most runs are never loaded, large, damaged or hidden by a codec: what only those need is a
    default of the class, that nothing has to be done for.
    """

    damage: HotMeshError | None = None
    """Why its code can't be run: something of the run can't be read. It can only be ended."""
    moved_at = 0.0
    """When the latest transition of a large run was recorded (monotonic seconds)."""
    large_from = LARGE_BYTES
    """It is large once its journal has more bytes than that; 0 if its input is large."""
    is_heavy = False
    """Whether its latest activation has journaled or answered much."""
    readable: RunDetails | None = None
    """The details as workflow code sees them, where a payload codec hides them."""
    digests: ArgumentDigests | None = None
    """What makes the digests of its arguments; made when first needed."""
    codecs: RunCodecs | None = None
    """The codec of each of its payloads, where there is one."""
    failure = b""
    """What the run failed with, where a payload codec hides it."""
    changed_arguments = ""
    """Where a replay has called something with other arguments than recorded; said once."""
    transitions: Transitions = ()
    """The journal, until it is replayed."""
    sizes: Sequence[int] = ()
    """The bytes of each of these rows as stored."""
    start_ms = 0
    closed = False
    status = 1
    _row_bytes = 0
    """Of the journal, until it is replayed."""

    def __init__(self, details: RunDetails) -> None:
        self.details = details
        self.instance: WorkflowInstance | None = None
        self.now_ms = 0
        """Time of the newest transition: a run's clock never goes back."""
        self.children: dict[int, dict[str, Any]] = {}
        """Open children's documents, by the seq of their command."""
        self._input_bytes = size = len(details.input)
        if size > LARGE_BYTES:
            self.large_from = 0

    @classmethod
    def of(
        cls,
        namespace: str,
        task_queue: str,
        run_id: bytes,
        lane: int,
        workflow_id: str | None,
        workflow_type: str | None,
        header: bytes | None,
        body: bytes | None,
        attributes: bytes = b"",
    ) -> RunState:
        """A run as it is stored; what of it can't be read is the state's ``damage``."""
        document: dict[str, Any] = {}
        damage: HotMeshError | None = None
        is_plain = workflow_id and workflow_type and body is not None and not attributes
        if header or not is_plain:  # few are
            document, damage = _checked(
                run_id, workflow_id, workflow_type, header, body, attributes
            )
        details = RunDetails(
            namespace,
            workflow_id or "",
            run_id,
            workflow_type or "",
            task_queue,
            lane,
            document,
            body or b"",
            attributes,
        )
        state = cls(details)
        if damage is not None:
            state.damage = damage
        return state

    @property
    def bytes(self) -> int:
        """Input and journal as stored: about what its code holds."""
        instance = self.instance
        journal = self._row_bytes if instance is None else instance.journal_bytes
        return self._input_bytes + journal

    @property
    def workflow_type(self) -> str:
        """The run's type."""
        return self.details.workflow_type

    @property
    def lane(self) -> int:
        """The run's lane."""
        return self.details.lane

    def let_go_of_input(self) -> None:
        """The code has been given its arguments: what they were read from is needed no more.

        A run that is retried begins with it again, and a codec's digests are keyed with it.
        """
        instance = self.instance
        if (
            instance is not None
            and not instance.held_up
            and self.readable is None
            and "retry" not in self.details.header
        ):
            self.details.input = b""

    def abandon_code(self) -> None:
        """Its code is left where it is running still; what it held counts until the run goes."""
        if self.instance is not None:
            self._row_bytes, self.instance = self.instance.journal_bytes, None

    def remember(self, transitions: Sequence[Transition], sizes: Sequence[int]) -> None:
        """Take in the journal; it is replayed when the run is next activated.

        Args:
            transitions: Its rows, decoded.
            sizes: Bytes of each row as stored.
        """
        self.transitions = transitions
        self.sizes = sizes
        self._row_bytes = sum(sizes)
        for index, (now_ms, jobs, commands) in enumerate(transitions):
            if not index:
                self.start_ms = now_ms
            self.now_ms = now_ms
            self.follow(jobs, commands)

    def journaled(self, transition: Transition | None, size: int) -> int:
        """A row was added to the journal.

        Args:
            transition: The row, if this process made it without the run's code; None if the code
                knows what is in it.
            size: Its bytes; 0 if nothing had to be recorded.

        Returns:
            The journal's bytes.
        """
        instance = self.instance
        if instance is not None:
            if size:
                instance.transitions += 1
                instance.journal_bytes += size
            return instance.journal_bytes
        self._row_bytes += size
        if size and transition is not None:
            if isinstance(self.transitions, Journal):
                self.transitions.add(transition)
            else:
                self.transitions = [*self.transitions, transition]
            self.sizes = [*self.sizes, size]
        return self._row_bytes

    def follow(self, jobs: Sequence[Event], commands: Sequence[Event]) -> None:
        """Keep track of open children in a transition that is read."""
        self.settle_children(jobs)
        for command in commands:
            if command[0] == kinds.CHILD:
                self.add_child(command)

    def settle_children(self, jobs: Sequence[Event]) -> None:
        """Forget the children that have ended; note those that have started."""
        for job in jobs:
            if job[0] in CHILD_OUTCOMES:
                self.children.pop(job[1], None)
            elif job[0] == kinds.CHILD_STARTED and job[1] in self.children:
                self.children[job[1]]["started"] = True

    def add_child(self, command: Event) -> None:
        """A child was asked for."""
        self.children[command[1]] = orjson.loads(command[4])


def _checked(
    run_id: bytes,
    workflow_id: str | None,
    workflow_type: str | None,
    header: bytes | None,
    body: bytes | None,
    attributes: bytes,
) -> tuple[dict[str, Any], CorruptRowError | None]:
    """A run's header, and what of the run can't be read."""
    try:
        document: dict[str, Any] = wire.load(header or b"")
    except ValueError as error:
        return {}, _corrupt(run_id, "header", str(error))
    if type(document) is not dict:
        return {}, _corrupt(run_id, "header", "it is no document")
    if not (workflow_id and workflow_type):
        return document, _corrupt(run_id, "row", "it has no workflow id or no type")
    if body is None and header is not None:
        return document, _corrupt(run_id, "input", "it is missing")
    if DAMAGED_ATTRIBUTE in attributes:
        return document, _corrupt(run_id, "record", "a value is no JSON")
    return document, None


def _corrupt(run_id: bytes, what: str, reason: str) -> CorruptRowError:
    return CorruptRowError(wire.run_id_text(run_id), what, reason)
