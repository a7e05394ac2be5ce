"""Child workflows, other workflows, and the next run of this one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, NoReturn, TypedDict, Unpack

from hotmesh.common import (
    ARG_UNSET,
    Priority,
    RetryPolicy,
    SearchAttributes,
    TypedSearchAttributes,
    WorkflowIDReusePolicy,
    arg_or_args,
)
from hotmesh.engine.context import current
from hotmesh.engine.definition import WorkflowDefinition
from hotmesh.engine.handles import ChildWorkflowHandle, ExternalWorkflowHandle
from hotmesh.engine.info import (
    ChildWorkflowCancellationType,
    ParentClosePolicy,
    VersioningIntent,
)
from hotmesh.workflow._signatures import like

Duration = timedelta | float


class ChildWorkflowConfig(TypedDict, total=False):
    """Options of a child workflow, to be kept and passed with ``**``."""

    id: str | None
    task_queue: str | None
    cancellation_type: ChildWorkflowCancellationType
    parent_close_policy: ParentClosePolicy
    execution_timeout: Duration | None
    run_timeout: Duration | None
    task_timeout: Duration | None
    id_reuse_policy: WorkflowIDReusePolicy
    retry_policy: RetryPolicy | None
    cron_schedule: str
    memo: Mapping[str, Any] | None
    search_attributes: SearchAttributes | TypedSearchAttributes | None
    versioning_intent: VersioningIntent | None
    static_summary: str | None
    static_details: str | None
    priority: Priority


class _ChildWorkflowCall(ChildWorkflowConfig, total=False):
    args: Sequence[Any]
    result_type: type | None
    expire: Duration | None
    record: bool


def workflow_target(workflow: Any) -> tuple[str, Any]:
    """The type name and result type of a workflow given by name, class, run method or function.

    Raises:
        TypeError: it is none of these.
        ValueError: it is a dynamic workflow, which has no name.
    """
    if isinstance(workflow, str):
        return workflow, None
    definition = WorkflowDefinition.of(workflow)
    if definition is None:
        if callable(workflow) and not isinstance(workflow, type):
            definition = WorkflowDefinition.from_function(workflow)
        else:
            raise TypeError("Workflow must be a string, method, class, or function")
    if definition.name is None:
        raise ValueError("Cannot invoke dynamic workflow explicitly")
    return definition.name, definition.ret_type


async def start_child_workflow(
    workflow: Any,
    arg: Any = ARG_UNSET,
    *,
    args: Sequence[Any] = (),
    id: str | None = None,  # noqa: A002 - the name ported code passes
    task_queue: str | None = None,
    result_type: type | None = None,
    cancellation_type: ChildWorkflowCancellationType = (
        ChildWorkflowCancellationType.WAIT_CANCELLATION_COMPLETED
    ),
    parent_close_policy: ParentClosePolicy = ParentClosePolicy.TERMINATE,
    execution_timeout: Duration | None = None,
    run_timeout: Duration | None = None,
    task_timeout: Duration | None = None,
    id_reuse_policy: WorkflowIDReusePolicy = WorkflowIDReusePolicy.ALLOW_DUPLICATE,
    retry_policy: RetryPolicy | None = None,
    cron_schedule: str = "",
    memo: Mapping[str, Any] | None = None,
    search_attributes: SearchAttributes | TypedSearchAttributes | None = None,
    versioning_intent: VersioningIntent | None = None,
    static_summary: str | None = None,
    static_details: str | None = None,
    priority: Priority = Priority.default,
    expire: Duration | None = None,
    record: bool = False,
) -> ChildWorkflowHandle:
    """Start a child workflow; returns once it has started. Await the handle for its result.

    Args:
        workflow: The workflow class, its run method, a workflow function, or the type name.
        arg: The single argument.
        args: Several arguments; not together with ``arg``.
        id: The child's workflow id; a UUID by default.
        task_queue: Where it runs; the parent's task queue by default.
        result_type: What to read the result as; the run method's return type by default.
        cancellation_type: What cancelling the handle does.
        parent_close_policy: What happens to it when this run closes.
        execution_timeout: Of the whole chain of its runs (timedelta or seconds).
        run_timeout: Of one run.
        task_timeout: Recorded for compatibility.
        id_reuse_policy: Whether the id of a closed workflow may be used again.
        retry_policy: When a failed child is run again; never by default.
        cron_schedule: Not supported: refused unless empty.
        memo: Recorded with the child.
        search_attributes: The child's search attributes.
        versioning_intent: Means nothing: runs are not tied to builds.
        static_summary: Shown to people.
        static_details: Shown to people.
        priority: Not supported: refused unless empty.
        expire: How long the closed child is kept (timedelta or seconds); until pruned by default.
        record: Whether the child writes this run's record in place of one of its own.

    Raises:
        WorkflowAlreadyStartedError: the id is taken.
        InvalidArgumentError: an option is not acceptable.
    """
    del versioning_intent
    name, found_type = workflow_target(workflow)
    return await current().start_child(
        name,
        arg_or_args(arg, args),
        workflow_id=id,
        result_type=result_type or found_type,
        task_queue=task_queue,
        cancellation_type=cancellation_type,
        parent_close_policy=parent_close_policy,
        execution_timeout=execution_timeout,
        run_timeout=run_timeout,
        task_timeout=task_timeout,
        id_reuse_policy=id_reuse_policy,
        retry_policy=retry_policy,
        cron_schedule=cron_schedule,
        memo=memo,
        search_attributes=search_attributes,
        summary=static_summary,
        details=static_details,
        priority=priority,
        expire=expire,
        record=record,
    )


@like(start_child_workflow, "Any")
async def execute_child_workflow(
    workflow: Any, arg: Any = ARG_UNSET, **options: Unpack[_ChildWorkflowCall]
) -> Any:
    """:func:`start_child_workflow`, and await the result.

    Raises:
        ChildWorkflowError: the child failed, was cancelled, terminated or timed out.
    """
    return await (await start_child_workflow(workflow, arg, **options))


def get_external_workflow_handle(
    workflow_id: str, *, run_id: str | None = None
) -> ExternalWorkflowHandle:
    """A handle to signal or cancel another workflow of the namespace.

    Args:
        workflow_id: Its id.
        run_id: A particular run; whichever is open by default.
    """
    return ExternalWorkflowHandle(current(), workflow_id, run_id)


def get_external_workflow_handle_for(
    workflow: Any, workflow_id: str, *, run_id: str | None = None
) -> ExternalWorkflowHandle:
    """:func:`get_external_workflow_handle`; ``workflow`` only says what type is meant."""
    del workflow
    return get_external_workflow_handle(workflow_id, run_id=run_id)


def continue_as_new(
    arg: Any = ARG_UNSET,
    *,
    args: Sequence[Any] = (),
    workflow: Any = None,
    task_queue: str | None = None,
    run_timeout: Duration | None = None,
    task_timeout: Duration | None = None,
    backoff_start_interval: Duration | None = None,
    retry_policy: RetryPolicy | None = None,
    memo: Mapping[str, Any] | None = None,
    search_attributes: SearchAttributes | TypedSearchAttributes | None = None,
    versioning_intent: VersioningIntent | None = None,
    initial_versioning_behavior: Any = None,
) -> NoReturn:
    """End this run and start the workflow anew under the same id, with an empty journal.

    What isn't given is carried over: memo, search attributes, timeouts, retry policy.

    Args:
        arg: The single argument.
        args: Several arguments; not together with ``arg``.
        workflow: Another workflow type to go on as.
        task_queue: Where the new run runs.
        run_timeout: Of the new run (timedelta or seconds).
        task_timeout: Recorded for compatibility.
        backoff_start_interval: How long the new run waits before it starts.
        retry_policy: Of the new run.
        memo: Replaces the memo.
        search_attributes: Replace the search attributes.
        versioning_intent: Means nothing: runs are not tied to builds.
        initial_versioning_behavior: Means nothing, likewise.

    Raises:
        ContinueAsNewError: always; let it pass.
    """
    del versioning_intent, initial_versioning_behavior
    raise current().continue_as_new(
        arg_or_args(arg, args),
        workflow_type=None if workflow is None else workflow_target(workflow)[0],
        task_queue=task_queue,
        run_timeout=run_timeout,
        task_timeout=task_timeout,
        backoff=backoff_start_interval,
        retry_policy=retry_policy,
        memo=memo,
        search_attributes=search_attributes,
    )
