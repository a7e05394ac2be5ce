"""The payload codec of one run, bound to whose each payload is."""

from __future__ import annotations

from collections.abc import Sequence

from hotmesh.converter import PayloadCodec, SerializationContext, WithSerializationContext
from hotmesh.core import Event
from hotmesh.engine.contexts import RunContexts
from hotmesh.engine.details import RunDetails


class RunCodecs:
    """The codec of each of a run's payloads: bound to whose it is, if it wants to know.

    Args:
        codec: The worker's.
        details: The run.
    """

    def __init__(self, codec: PayloadCodec, details: RunDetails) -> None:
        self._codec = codec
        self._contexts: RunContexts | None = None
        self.own = codec
        if isinstance(codec, WithSerializationContext):
            self._contexts = RunContexts(
                details.namespace, details.workflow_id, details.workflow_type, details.task_queue
            )
            self.own = codec.with_context(self._contexts.own)

    def note(self, commands: Sequence[Event]) -> None:
        """Remember commands of the journal: what answers them is theirs."""
        if self._contexts is not None:
            for command in commands:
                self._contexts.of_command(command)

    def for_command(self, command: Event) -> PayloadCodec:
        """The codec of what a command carries."""
        if self._contexts is None:
            return self._codec
        return self._bound(self._contexts.of_command(command))

    def for_job(self, job: Event) -> PayloadCodec:
        """The codec of what a job carries."""
        if self._contexts is None:
            return self._codec
        return self._bound(self._contexts.of_job(job))

    def _bound(self, context: SerializationContext | None) -> PayloadCodec:
        codec = self._codec
        if context is None or not isinstance(codec, WithSerializationContext):
            return codec
        return codec.with_context(context)
