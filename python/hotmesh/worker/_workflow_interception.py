# ruff: noqa: A002 - `input` is the argument name that interceptors use
"""Interceptors around workflow code: the calls into it and out of it pass through their chain.

A worker without workflow interceptors never comes here. With some, its runs are instances of a
subclass whose calls go through the chain; the ends of the chain do what the class does by itself.
"""

from __future__ import annotations

import contextvars
import functools
import inspect
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any, NoReturn

from hotmesh.common import ARG_UNSET, Payload, Priority, WorkflowIDReusePolicy, arg_or_args
from hotmesh.common.arguments import argument_list
from hotmesh.engine import wire
from hotmesh.engine.definition import (
    QueryDefinition,
    SignalDefinition,
    UpdateDefinition,
    WorkflowDefinition,
)
from hotmesh.engine.details import EngineOptions, RunDetails
from hotmesh.engine.handlers import Incoming
from hotmesh.engine.handles import ActivityHandle, ChildWorkflowHandle
from hotmesh.engine.info import Info
from hotmesh.engine.instance import WorkflowInstance
from hotmesh.engine.outbound import ContinueAsNewError, signal_name
from hotmesh.worker import _interceptor as inputs
from hotmesh.worker._interceptor import (
    Interceptor,
    WorkflowInboundInterceptor,
    WorkflowInterceptorClassInput,
    WorkflowOutboundInterceptor,
)

_Class = type[WorkflowInboundInterceptor]
_NO_HEADERS: Mapping[str, Payload] = {}

_child_extras: contextvars.ContextVar[Mapping[str, Any] | None] = contextvars.ContextVar(
    "hotmesh_child_extras", default=None
)
"""Options that interceptors don't know, of the child that the task is starting: others may start
theirs meanwhile, for an interceptor may wait."""


def intercepted_instances(interceptors: Sequence[Interceptor]) -> Callable[..., Any] | None:
    """What makes a worker's workflow instances; None if no interceptor wraps workflows.

    Args:
        interceptors: The worker's, the first one outermost.
    """
    given = WorkflowInterceptorClassInput(unsafe_extern_functions={})
    named = [each.workflow_interceptor_class(given) for each in interceptors]
    classes = [each for each in named if each is not None]
    functions = given.unsafe_extern_functions
    if not classes and not functions:
        return None
    return functools.partial(InterceptedInstance, classes=classes, extern_functions=functions)


class InterceptedInstance(WorkflowInstance):
    """A run whose calls pass through interceptors.

    Args:
        definition: The workflow.
        details: The run.
        options: Of the worker.
        classes: The interceptors, the outermost one first.
        extern_functions: What they let workflow code reach by name.
    """

    schedules_directly = False

    def __init__(
        self,
        definition: WorkflowDefinition,
        details: RunDetails,
        options: EngineOptions,
        classes: Sequence[_Class],
        extern_functions: Mapping[str, Callable[..., Any]],
    ) -> None:
        super().__init__(definition, details, options)
        self.extern_functions = extern_functions
        self.outbound: WorkflowOutboundInterceptor = _LastOutbound(self)
        self.inbound: WorkflowInboundInterceptor = _LastInbound(self)
        for each in reversed(classes):
            self.inbound = each(self.inbound)
        token = self.loop.enter()
        try:
            self.inbound.init(self.outbound)  # which may call the workflow API
        finally:
            self.loop.leave(token)

    # In

    def call_run(self, args: list[Any]) -> Awaitable[Any]:
        """Run the workflow's own code through the chain."""
        return self.inbound.execute_workflow(
            inputs.ExecuteWorkflowInput(
                type=self.definition.cls or object,
                run_fn=self.definition.run_fn,
                args=args,
                headers=wire.unpack_headers(self.details.header.get("h", {})),
            )
        )

    def call_signal(self, definition: SignalDefinition, incoming: Incoming) -> Any:
        """Handle a signal through the chain."""
        return self.inbound.handle_signal(
            inputs.HandleSignalInput(
                incoming.name, _own_args(definition, incoming), _headers(incoming)
            )
        )

    def call_query(self, definition: QueryDefinition, incoming: Incoming) -> Any:
        """Answer a query through the chain."""
        return self.inbound.handle_query(
            inputs.HandleQueryInput(
                incoming.id, incoming.name, _own_args(definition, incoming), _headers(incoming)
            )
        )

    def call_validator(self, definition: UpdateDefinition, incoming: Incoming) -> None:
        """Validate an update through the chain."""
        self.inbound.handle_update_validator(_update_input(definition, incoming))

    def call_update(self, definition: UpdateDefinition, incoming: Incoming) -> Any:
        """Carry out an update through the chain."""
        return self.inbound.handle_update_handler(_update_input(definition, incoming))

    # Out

    @property
    def info(self) -> Info:
        """What the run knows about itself, as the chain shows it."""
        return self.outbound.info()

    def own_info(self) -> Info:
        """What the run knows about itself."""
        if self._info is None:
            self._info = self._build_info()
        return self._info

    def start_activity(self, name: str, args: Sequence[Any], **options: Any) -> ActivityHandle:
        """Schedule an activity through the chain."""
        common: dict[str, Any] = {
            "activity": name,
            "args": args,
            "activity_id": options.get("activity_id"),
            "schedule_to_close_timeout": _timedelta(options.get("schedule_to_close")),
            "schedule_to_start_timeout": _timedelta(options.get("schedule_to_start")),
            "start_to_close_timeout": _timedelta(options.get("start_to_close")),
            "retry_policy": options.get("retry_policy"),
            "cancellation_type": options["cancellation_type"],
            "headers": _NO_HEADERS,
            "summary": options.get("summary"),
            "arg_types": None,
            "ret_type": options.get("result_type"),
        }
        if options.get("local"):
            return self.outbound.start_local_activity(
                inputs.StartLocalActivityInput(local_retry_threshold=None, **common)
            )
        return self.outbound.start_activity(
            inputs.StartActivityInput(
                task_queue=options.get("task_queue"),
                heartbeat_timeout=_timedelta(options.get("heartbeat")),
                disable_eager_execution=False,
                versioning_intent=None,
                priority=options.get("priority") or Priority.default,
                **common,
            )
        )

    def issue_activity(
        self, given: inputs.StartActivityInput | inputs.StartLocalActivityInput
    ) -> ActivityHandle:
        """Schedule an activity."""
        options: dict[str, Any] = {"local": True}
        if isinstance(given, inputs.StartActivityInput):
            options = {
                "task_queue": given.task_queue,
                "heartbeat": given.heartbeat_timeout,
                "priority": given.priority,
            }
        return super().start_activity(
            given.activity,
            argument_list(given.args),
            result_type=given.ret_type,
            schedule_to_close=given.schedule_to_close_timeout,
            schedule_to_start=given.schedule_to_start_timeout,
            start_to_close=given.start_to_close_timeout,
            retry_policy=given.retry_policy,
            cancellation_type=given.cancellation_type,
            activity_id=given.activity_id,
            summary=given.summary,
            headers=given.headers,
            **options,
        )

    async def start_child(
        self, workflow_type: str, args: Sequence[Any], **options: Any
    ) -> ChildWorkflowHandle:
        """Start a child workflow through the chain."""
        self.check_writable("start child workflow")
        given = inputs.StartChildWorkflowInput(
            workflow=workflow_type,
            args=args,
            id=options["workflow_id"] or str(self.uuid4()),
            task_queue=options.get("task_queue"),
            cancellation_type=options["cancellation_type"],
            parent_close_policy=options["parent_close_policy"],
            execution_timeout=_timedelta(options.get("execution_timeout")),
            run_timeout=_timedelta(options.get("run_timeout")),
            task_timeout=_timedelta(options.get("task_timeout")),
            id_reuse_policy=WorkflowIDReusePolicy(options.get("id_reuse_policy", 1)),
            retry_policy=options.get("retry_policy"),
            cron_schedule=options.get("cron_schedule", ""),
            memo=options.get("memo"),
            search_attributes=options.get("search_attributes"),
            headers=_NO_HEADERS,
            versioning_intent=None,
            static_summary=options.get("summary"),
            static_details=options.get("details"),
            priority=options.get("priority") or Priority.default,
            arg_types=None,
            ret_type=options.get("result_type"),
        )
        _child_extras.set({key: options.get(key) for key in ("expire", "record")})
        return await self.outbound.start_child_workflow(given)

    async def issue_child(self, given: inputs.StartChildWorkflowInput) -> ChildWorkflowHandle:
        """Start a child workflow."""
        extras = _child_extras.get() or {}
        return await super().start_child(
            given.workflow,
            argument_list(given.args),
            workflow_id=given.id,
            result_type=given.ret_type,
            task_queue=given.task_queue,
            cancellation_type=given.cancellation_type,
            parent_close_policy=given.parent_close_policy,
            execution_timeout=given.execution_timeout,
            run_timeout=given.run_timeout,
            task_timeout=given.task_timeout,
            id_reuse_policy=int(given.id_reuse_policy),
            retry_policy=given.retry_policy,
            cron_schedule=given.cron_schedule,
            memo=given.memo,
            search_attributes=given.search_attributes,
            summary=given.static_summary,
            details=given.static_details,
            priority=given.priority,
            expire=extras.get("expire"),
            record=bool(extras.get("record")),
            headers=given.headers,
        )

    async def signal_external(
        self,
        namespace: str,
        workflow_id: str,
        run_id: str | None,
        signal: Any,
        arg: Any,
        args: Sequence[Any],
        child: bool = False,
        headers: Mapping[str, Payload] | None = None,
    ) -> None:
        """Send a signal to another workflow through the chain."""
        del headers
        name, values = signal_name(signal), arg_or_args(arg, args)
        if child:
            await self.outbound.signal_child_workflow(
                inputs.SignalChildWorkflowInput(name, values, workflow_id, _NO_HEADERS)
            )
            return
        await self.outbound.signal_external_workflow(
            inputs.SignalExternalWorkflowInput(
                name, values, namespace, workflow_id, run_id, _NO_HEADERS
            )
        )

    async def issue_signal(
        self, given: inputs.SignalChildWorkflowInput | inputs.SignalExternalWorkflowInput
    ) -> None:
        """Send a signal to another workflow."""
        if isinstance(given, inputs.SignalChildWorkflowInput):
            namespace, workflow_id, run_id = (
                self.details.namespace,
                given.child_workflow_id,
                None,
            )
        else:
            namespace, workflow_id, run_id = (
                given.namespace,
                given.workflow_id,
                given.workflow_run_id,
            )
        await super().signal_external(
            namespace,
            workflow_id,
            run_id,
            given.signal,
            ARG_UNSET,
            argument_list(given.args),
            headers=given.headers,
        )

    def continue_as_new(self, args: Sequence[Any], **options: Any) -> ContinueAsNewError:
        """What ends the run, made by the chain."""
        self.check_writable("continue as new")
        try:
            self.outbound.continue_as_new(
                inputs.ContinueAsNewInput(
                    workflow=options["workflow_type"],
                    args=args,
                    task_queue=options["task_queue"],
                    run_timeout=_timedelta(options["run_timeout"]),
                    task_timeout=_timedelta(options["task_timeout"]),
                    backoff_start_interval=_timedelta(options["backoff"]),
                    retry_policy=options["retry_policy"],
                    memo=options["memo"],
                    search_attributes=options["search_attributes"],
                    headers=_NO_HEADERS,
                    versioning_intent=None,
                    initial_versioning_behavior=None,
                    arg_types=None,
                )
            )
        except ContinueAsNewError as error:
            return error

    def issue_continue(self, given: inputs.ContinueAsNewInput) -> ContinueAsNewError:
        """What ends the run and starts the next one."""
        return super().continue_as_new(
            argument_list(given.args),
            workflow_type=given.workflow,
            task_queue=given.task_queue,
            run_timeout=given.run_timeout,
            task_timeout=given.task_timeout,
            backoff=given.backoff_start_interval,
            retry_policy=given.retry_policy,
            memo=given.memo,
            search_attributes=given.search_attributes,
            headers=given.headers,
        )


class _LastInbound(WorkflowInboundInterceptor):
    """The end of the chain inwards: the workflow's code."""

    def __init__(self, instance: InterceptedInstance) -> None:  # There is no next one.
        self._instance = instance

    def init(self, outbound: WorkflowOutboundInterceptor) -> None:
        self._instance.outbound = outbound

    async def execute_workflow(self, input: inputs.ExecuteWorkflowInput) -> Any:
        if self._instance.definition.cls is None:
            return await input.run_fn(*input.args)
        return await input.run_fn(self._instance.object, *input.args)

    async def handle_signal(self, input: inputs.HandleSignalInput) -> None:
        table = self._instance.handlers.signals
        await self._call(table.get(input.signal) or table[None], input.signal, input.args)

    async def handle_query(self, input: inputs.HandleQueryInput) -> Any:
        table = self._instance.handlers.queries
        return await self._call(table.get(input.query) or table[None], input.query, input.args)

    def handle_update_validator(self, input: inputs.HandleUpdateInput) -> None:
        table = self._instance.handlers.updates
        definition = table.get(input.update) or table[None]
        validate = self._instance.handlers.bound_validator(definition)
        validate(*_all_args(definition, input.update, input.args))

    async def handle_update_handler(self, input: inputs.HandleUpdateInput) -> Any:
        table = self._instance.handlers.updates
        return await self._call(table.get(input.update) or table[None], input.update, input.args)

    async def _call(
        self,
        definition: SignalDefinition | QueryDefinition | UpdateDefinition,
        name: str,
        args: Sequence[Any],
    ) -> Any:
        result = self._instance.handlers.bound(definition)(*_all_args(definition, name, args))
        return await result if inspect.isawaitable(result) else result


class _LastOutbound(WorkflowOutboundInterceptor):
    """The end of the chain outwards: the engine."""

    def __init__(self, instance: InterceptedInstance) -> None:  # There is no next one.
        self._instance = instance

    def continue_as_new(self, input: inputs.ContinueAsNewInput) -> NoReturn:
        raise self._instance.issue_continue(input)

    def info(self) -> Info:
        return self._instance.own_info()

    async def signal_child_workflow(self, input: inputs.SignalChildWorkflowInput) -> None:
        await self._instance.issue_signal(input)

    async def signal_external_workflow(self, input: inputs.SignalExternalWorkflowInput) -> None:
        await self._instance.issue_signal(input)

    def start_activity(self, input: inputs.StartActivityInput) -> ActivityHandle:
        return self._instance.issue_activity(input)

    async def start_child_workflow(
        self, input: inputs.StartChildWorkflowInput
    ) -> ChildWorkflowHandle:
        return await self._instance.issue_child(input)

    def start_local_activity(self, input: inputs.StartLocalActivityInput) -> ActivityHandle:
        return self._instance.issue_activity(input)


_Definition = SignalDefinition | QueryDefinition | UpdateDefinition


def _own_args(definition: _Definition, incoming: Incoming) -> list[Any]:
    """The arguments without the name that dynamic handlers get in front."""
    return incoming.args[1:] if definition.name is None else incoming.args


def _all_args(definition: _Definition, name: str, args: Sequence[Any]) -> Sequence[Any]:
    return [name, *args] if definition.name is None else args


def _headers(incoming: Incoming) -> Mapping[str, Payload]:
    return wire.unpack_headers(incoming.document.get("h", {}))


def _update_input(definition: UpdateDefinition, incoming: Incoming) -> inputs.HandleUpdateInput:
    return inputs.HandleUpdateInput(
        incoming.id, incoming.name, _own_args(definition, incoming), _headers(incoming)
    )


def _timedelta(value: timedelta | float | None) -> timedelta | None:
    return timedelta(seconds=value) if isinstance(value, (int, float)) else value
