"""What a pipe remembers of a run besides the core's ledger."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson

from hotmesh.core import Event, Transition, kinds
from hotmesh.engine.arguments import ArgumentDigests
from hotmesh.engine.instance import RunDetails, WorkflowInstance

_CHILD_ENDS = frozenset((kinds.CHILD_START_FAILED, kinds.CHILD_COMPLETED, kinds.CHILD_FAILED))


class RunState:
    """A run in this pipe's cache."""

    __slots__ = (
        "changed_arguments",
        "children",
        "closed",
        "details",
        "digests",
        "failure",
        "instance",
        "now_ms",
        "readable",
        "sizes",
        "start_ms",
        "status",
        "transitions",
    )

    def __init__(self, details: RunDetails) -> None:
        self.details = details
        self.readable: RunDetails | None = None
        """The details as workflow code sees them, where a payload codec hides them."""
        self.digests: ArgumentDigests | None = None
        """What makes the digests of its arguments; made when first needed."""
        self.failure = b""
        """What the run failed with, where a payload codec hides it."""
        self.instance: WorkflowInstance | None = None
        self.changed_arguments = ""
        """Where a replay has called something with other arguments than recorded; said once."""
        self.transitions: Sequence[Transition] = ()
        """The journal, until it is replayed."""
        self.sizes: Sequence[int] = ()
        """The bytes of each of these rows as stored."""
        self.children: dict[int, dict[str, Any]] = {}
        """Open children's documents, by the seq of their command."""
        self.now_ms = 0
        """Time of the newest transition: a run's clock never goes back."""
        self.start_ms = 0
        self.closed = False
        self.status = 1

    @property
    def lane(self) -> int:
        """The run's lane."""
        return self.details.lane

    def remember(self, transitions: Sequence[Transition], sizes: Sequence[int]) -> None:
        """Take in the journal; it is replayed when the run is next activated.

        Args:
            transitions: Its rows, decoded.
            sizes: Bytes of each row as stored.
        """
        self.transitions = transitions
        self.sizes = sizes
        if transitions:
            self.start_ms = transitions[0][0]
        for now_ms, jobs, commands in transitions:
            self.now_ms = now_ms
            self.follow(jobs, commands)

    def journaled(self, transition: Transition | None, size: int) -> None:
        """A row was added to the journal.

        Args:
            transition: The row, if this process made it without the run's code; None if the code
                knows what is in it.
            size: Its bytes; 0 if nothing had to be recorded.
        """
        if not size:
            return
        instance = self.instance
        if instance is not None:
            instance.transitions += 1
            instance.journal_bytes += size
        elif transition is not None:
            self.transitions = [*self.transitions, transition]
            self.sizes = [*self.sizes, size]

    def follow(self, jobs: Sequence[Event], commands: Sequence[Event]) -> None:
        """Keep track of open children in a transition that is read."""
        self.settle_children(jobs)
        for command in commands:
            if command[0] == kinds.CHILD:
                self.add_child(command)

    def settle_children(self, jobs: Sequence[Event]) -> None:
        """Forget the children that have ended."""
        for job in jobs:
            if job[0] in _CHILD_ENDS:
                self.children.pop(job[1], None)

    def add_child(self, command: Event) -> None:
        """A child was asked for."""
        self.children[command[1]] = orjson.loads(command[4])
