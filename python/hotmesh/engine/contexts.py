"""Whose data a converter or codec works on: the same on both sides of each payload.

What goes to or comes from a workflow is that workflow's, a child's or another's included; what goes
to or comes from an activity is the activity's. What is sent under a key (``wait_for``) belongs to
nobody.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hotmesh.converter import (
    ActivitySerializationContext,
    DataConverter,
    SerializationContext,
    WorkflowSerializationContext,
)
from hotmesh.core import Event, kinds
from hotmesh.engine import wire
from hotmesh.engine.activity_options import read_options
from hotmesh.engine.details import RunDetails


def activity_context(
    namespace: str,
    workflow_id: str,
    workflow_type: str,
    task_queue: str,
    seq: int,
    name: str,
    options: Mapping[str, Any],
) -> ActivitySerializationContext:
    """The context of an activity's arguments, heartbeats and outcome.

    Args:
        namespace: Of the workflow that calls it.
        workflow_id: Of that workflow.
        workflow_type: Of that workflow.
        task_queue: Where the activity runs.
        seq: Of its command.
        name: Its type.
        options: As its command has them.
    """
    return ActivitySerializationContext(
        namespace=namespace,
        activity_id=options.get("id") or str(seq),
        activity_type=name,
        activity_task_queue=options.get("q") or task_queue,
        workflow_id=workflow_id,
        workflow_type=workflow_type,
        is_local=bool(options.get("local")),
    )


def own_converter(converter: DataConverter, details: RunDetails) -> DataConverter:
    """The converter of what goes to and comes from a run."""
    if not converter.takes_context:
        return converter
    return converter.with_context(
        WorkflowSerializationContext(namespace=details.namespace, workflow_id=details.workflow_id)
    )


class RunContexts:
    """The contexts of one run's payloads.

    Args:
        namespace: Of the run.
        workflow_id: Of the run.
        workflow_type: Of the run.
        task_queue: Of the run.
    """

    def __init__(
        self, namespace: str, workflow_id: str, workflow_type: str, task_queue: str
    ) -> None:
        self._namespace = namespace
        self._workflow_type = workflow_type
        self._task_queue = task_queue
        self._workflow_id = workflow_id
        self.own = self.of_workflow(workflow_id)
        self._of_seq: dict[int, SerializationContext] = {}

    def of_workflow(self, workflow_id: str) -> WorkflowSerializationContext:
        """The context of what goes to or comes from a workflow of the run's namespace."""
        return WorkflowSerializationContext(namespace=self._namespace, workflow_id=workflow_id)

    def of_activity(self, seq: int, name: str, options: Mapping[str, Any]) -> SerializationContext:
        """The context of an activity that the run calls; remembered for its result."""
        found = self._of_seq[seq] = activity_context(
            self._namespace,
            self._workflow_id,
            self._workflow_type,
            self._task_queue,
            seq,
            name,
            options,
        )
        return found

    def of_command(self, command: Event) -> SerializationContext | None:
        """The context of what a command carries; None: it belongs to nobody."""
        kind, seq, _, name, meta, _ = command
        if kind == kinds.ACTIVITY:
            return self.of_activity(seq, name, read_options(bytes(meta)))
        if kind == kinds.CHILD:
            found = self._of_seq[seq] = self.of_workflow(wire.load(meta)["id"])
            return found
        if kind == kinds.SIGNAL_EXTERNAL:
            return self.of_workflow(wire.load(meta)["wid"])
        return None if kind in kinds.KEYED else self.own

    def of_job(self, job: Event) -> SerializationContext | None:
        """The context of what a job carries: that of the command it answers, else the run's."""
        if job[0] in kinds.KEYED:
            return None
        return self._of_seq.get(job[1], self.own)
