"""Bringing a run back to life: its journal is replayed into a fresh instance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hotmesh.common import RetryPolicy
from hotmesh.core import Event, Transition, kinds, match_commands
from hotmesh.core.journal import Journal, Transitions
from hotmesh.engine.definition import WorkflowDefinition
from hotmesh.engine.details import EngineOptions
from hotmesh.engine.failures import WHATEVER
from hotmesh.engine.instance import WorkflowInstance
from hotmesh.exceptions import NondeterminismError, UnknownWorkflowTypeError
from hotmesh.router.coding import argument_digests
from hotmesh.router.comparing import ArgumentComparer, Change
from hotmesh.router.state import RunState
from hotmesh.router.watchdog import Watchdog


class Engine:
    """Makes instances of the workflow types that a worker hosts."""

    def __init__(
        self, definitions: Mapping[str | None, WorkflowDefinition], options: EngineOptions
    ) -> None:
        self.definitions = dict(definitions)
        self.options = options

    def hosts(self, workflow_type: str) -> bool:
        """Whether there is code for runs of this type."""
        return workflow_type in self.definitions or None in self.definitions

    def task_retry(self, workflow_type: str) -> RetryPolicy | None:
        """How long code of this type may go on raising before its run fails; None: for ever."""
        definition = self.definitions.get(workflow_type) or self.definitions.get(None)
        return None if definition is None else definition.task_retry

    def bring_up(self, state: RunState, watchdog: Watchdog) -> WorkflowInstance:
        """The run's instance, at the end of its journal.

        Args:
            state: The run.
            watchdog: Is told of each transition that is replayed: its limit is for one of them.

        Raises:
            CorruptRowError: what is stored of it can't be read.
            UnknownWorkflowTypeError: this worker has no code for it.
            NondeterminismError: the code no longer does what the journal says it did, or does it
                with the arguments in another order.
            BaseException: the workflow's code failed during replay.
        """
        if state.instance is not None:
            return state.instance
        if state.damage is not None:
            raise state.damage
        instance = self._new_instance(state)
        if not state.transitions:
            state.instance = instance
            return instance
        self._take_journal(instance, state, watchdog)
        state.instance = instance
        if instance.primary is not None:
            state.let_go_of_input()
        return instance

    def _take_journal(
        self, instance: WorkflowInstance, state: RunState, watchdog: Watchdog
    ) -> None:
        instance.patches = {
            command[3]
            for _, _, commands in _outline(state.transitions)
            for command in commands
            if command[0] == kinds.PATCH
        }
        instance.status = state.status
        try:
            self._replay_all(instance, state, watchdog)
        except BaseException as error:
            instance.dismantle()
            if isinstance(state.transitions, Journal) and isinstance(error, NondeterminismError):
                state.damage = error  # what it was found in is let go of: so it stays
            raise
        instance.is_replaying = False
        instance.replies = []
        state.transitions = state.sizes = ()

    def _replay_all(self, instance: WorkflowInstance, state: RunState, watchdog: Watchdog) -> None:
        comparer = ArgumentComparer(argument_digests(state))
        journal = state.transitions
        rows = journal.consume() if isinstance(journal, Journal) else journal
        for index, (now_ms, jobs, commands) in enumerate(rows):
            watchdog.replayed += 1
            if index:
                instance.transitions = index
                instance.journal_bytes += state.sizes[index - 1]
            if not jobs and not any(command[0] == kinds.RESUMED for command in commands):
                continue  # made by a router: no code ran
            if any(job[0] in kinds.ENDING for job in jobs):
                instance.closed = True
                break
            issued = self._replay(instance, state, index, now_ms, jobs, commands)
            moved = comparer.compare(index, commands, issued)
            if moved is not None:
                raise _in_another_order(state, moved)
        instance.transitions = len(state.transitions)
        instance.journal_bytes = sum(state.sizes)
        if comparer.changes:
            self._judge(state, comparer)

    def _judge(self, state: RunState, comparer: ArgumentComparer) -> None:
        """Refuse arguments that changed places in the run; note those that merely differ."""
        moved = comparer.permuted()
        if moved is not None:
            raise _in_another_order(state, moved)
        first = comparer.changes[0]
        text = f"{_show([first.command], 0)} at transition {first.transition}"
        if self.options.strict_replay:
            raise NondeterminismError(
                f"{_run(state)}: the code calls {text} with other arguments than the journal has, "
                "and the worker has strict_replay=True. Use workflow.patched() to change code that "
                "running workflows depend on."
            )
        state.changed_arguments = text

    def _new_instance(self, state: RunState) -> WorkflowInstance:
        workflow_type = state.details.workflow_type
        definition = self.definitions.get(workflow_type) or self.definitions.get(None)
        if definition is None:
            known = [name for name in self.definitions if name is not None]
            raise UnknownWorkflowTypeError(workflow_type, sorted(known))
        make = self.options.make_instance or WorkflowInstance
        return make(definition, state.readable or state.details, self.options)

    def _replay(
        self,
        instance: WorkflowInstance,
        state: RunState,
        index: int,
        now_ms: int,
        jobs: list[Event],
        recorded: list[Event],
    ) -> list[Event]:
        accepted = [c[4].decode() for c in recorded if c[0] == kinds.UPDATE_ACCEPTED]
        if recorded and recorded[-1][0] == kinds.FAIL and instance.definition.task_retry:
            instance.failure_types += WHATEVER  # the attempts were spent
        # A patch that old runs recorded may have left the code, so markers never differ.
        expected = [c for c in recorded if c[0] not in kinds.UNCOMPARED]
        if expected and (instance.held_up or expected[-1][0] == kinds.PAUSED):
            instance.replay_as(expected)
        issued = instance.activate(now_ms, jobs, replaying=True, accepted=accepted)
        found = [c for c in issued if c[0] not in kinds.UNCOMPARED]
        difference = match_commands(expected, found)
        if difference >= 0:
            raise NondeterminismError(
                f"{_run(state)} at transition {index}: the journal has "
                f"{_show(expected, difference)}, but the code asks for {_show(found, difference)}. "
                "Use workflow.patched() to change code that running workflows depend on."
            )
        return issued


def _outline(transitions: Transitions) -> Sequence[Transition]:
    """What was recorded, perhaps without bodies."""
    return transitions.outline if isinstance(transitions, Journal) else transitions


def _run(state: RunState) -> str:
    return f"workflow {state.details.workflow_id!r} ({state.details.workflow_type})"


def _in_another_order(state: RunState, change: Change) -> NondeterminismError:
    return NondeterminismError(
        f"{_run(state)} at transition {change.transition}: the code calls "
        f"{_show([change.command], 0)} with arguments that the journal has in another place: "
        "results would go to the wrong calls. Does it walk a set, or something else that has no "
        "order of its own? Walk a list, or sort it."
    )


def _show(commands: list[Event], index: int) -> str:
    commands = [c for c in commands if c[0] not in kinds.ROUTER_MADE]
    if index >= len(commands):
        return "nothing"
    kind, seq, _, name, _, _ = commands[index]
    return f"{kinds.NAMES.get(kind, kind)} {name!r} (seq {seq})"
