"""A workflow as the face's client holds it."""

from __future__ import annotations

from typing import Any

from hotmesh.backends.protocol import RunRow
from hotmesh.client import (
    Client,
    WorkflowContinuedAsNewError,
    WorkflowFailureError,
    WorkflowHandle,
)
from hotmesh.meshflow._calls import reason, run_state, send_mail


class Handle:
    """One workflow."""

    def __init__(self, client: Client, handle: WorkflowHandle[Any, Any]) -> None:
        self._client = client
        self._handle = handle

    @property
    def workflow_id(self) -> str:
        """The workflow id."""
        return self._handle.id

    @property
    def run_id(self) -> str | None:
        """The run that was started or asked for; None for the newest."""
        return self._handle.result_run_id or self._handle.run_id

    async def result(self) -> Any:
        """Wait for the workflow's result; it can be read as often as one likes.

        Raises:
            WorkflowFailureError: It failed, was cancelled or terminated; the text says why, and
                ``cause`` is the error.
            RPCError: NOT_FOUND, there is no such workflow.
        """
        try:
            return await self._handle.result()
        except WorkflowFailureError as error:
            error.args = (f"Workflow {self.workflow_id!r} failed: {reason(error)}",)
            raise

    async def signal(self, id: str, data: Any = None) -> None:  # noqa: A002 - the face's own name
        """Send a datum to whoever waits for an id of the workflow's namespace, now or later.

        Args:
            id: What the workflow waits for with ``wait_for``.
            data: What it gets.

        Raises:
            InvalidArgumentError: The id is not acceptable.
            ConversionError: The datum can't be serialised.
        """
        await send_mail(self._client, id, data)

    async def status(self) -> str:
        """The workflow's status: ``running``, ``completed``, ``failed``, ``canceled``,
        ``terminated``, ``continued_as_new`` or ``timed_out``.

        Raises:
            RPCError: NOT_FOUND, there is no such workflow.
        """
        return run_state(await self._row())["status"]

    async def state(self) -> dict[str, Any]:
        """What is known of the workflow now, as JSON values.

        Returns:
            ``workflow_id``, ``run_id``, ``namespace``, ``task_queue``, ``workflow_name``,
            ``status``, ``started`` and ``closed`` (ISO times, None while open), ``record``, and
            once it is closed ``result``, ``error`` or ``continued_as``.

        Raises:
            RPCError: NOT_FOUND, there is no such workflow.
        """
        state = run_state(await self._row())
        if state["closed"] is not None:
            state.update(await self._outcome(state["run_id"]))
        return state

    async def export(self) -> dict[str, Any]:
        """Everything stored of the workflow: its record, its journal, its result.

        Raises:
            RPCError: NOT_FOUND, there is no such workflow.
        """
        return await self._client.get_workflow_handle(self._handle.id, run_id=self.run_id).export()

    async def interrupt(self, reason: str = "interrupted") -> None:
        """End the workflow from outside; its code is not asked.

        Args:
            reason: For people, and for whoever awaits the result.

        Raises:
            RPCError: NOT_FOUND, there is no such workflow or it is closed.
        """
        await self._handle.terminate(reason=reason)

    async def _row(self) -> RunRow:
        return await self._client.find_run(self._handle.id, self.run_id)

    async def _outcome(self, run_id: str) -> dict[str, Any]:
        closed = self._client.get_workflow_handle(self._handle.id, run_id=run_id)
        try:
            return {"result": await closed.result(follow_runs=False)}
        except WorkflowFailureError as error:
            return {"error": str(error.cause)}
        except WorkflowContinuedAsNewError as error:
            return {"continued_as": error.new_execution_run_id}
