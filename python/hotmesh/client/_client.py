"""Client: starts workflows and finds them again."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any, Self, TypeVar, cast

from hotmesh.backends.protocol import Backend, RunRow
from hotmesh.client import _interceptor as inputs
from hotmesh.client._async_activity import AsyncActivityHandle, AsyncActivityIDReference
from hotmesh.client._calls import Calls
from hotmesh.client._configure import (
    ClientConfig,
    check_limit,
    chosen_url,
    connect,
    log_ignored,
    warn_of_tls,
)
from hotmesh.client._connection import Connection
from hotmesh.client._definitions import Named, signal_named, workflow_named
from hotmesh.client._errors import not_found
from hotmesh.client._execution import WorkflowExecutionCount
from hotmesh.client._handle import WorkflowHandle
from hotmesh.client._listing import WorkflowExecutionAsyncIterator
from hotmesh.client._patient import PatientCalls
from hotmesh.client._payloads import Payloads
from hotmesh.client._plugin import ConnectConfig, Plugin
from hotmesh.client._with_start import UpdateWithStartCalls
from hotmesh.common import (
    ARG_UNSET,
    HeaderCodecBehavior,
    Priority,
    QueryRejectCondition,
    RetryPolicy,
    SearchAttributes,
    TypedSearchAttributes,
    VersioningOverride,
    WorkflowIDConflictPolicy,
    WorkflowIDReusePolicy,
    arg_or_args,
)
from hotmesh.converter import DataConverter
from hotmesh.engine import wire
from hotmesh.engine.options import checked_name
from hotmesh.exceptions import InvalidArgumentError, UnsupportedOptionError
from hotmesh.limits import PAYLOAD_BYTES_MAX

Result = TypeVar("Result")
Metadata = inputs.Metadata
NO_METADATA = inputs.NO_METADATA


class Client(UpdateWithStartCalls):
    """A client of one namespace in one database. Make one with :meth:`connect`.

    Its calls are batched: whatever is called while the last batch is being written goes into the
    next one. It belongs to the event loop and the process it was made in.

    Args:
        service_client: The connection; of another client, or its configuration, to share it.
        namespace: The namespace.
        data_converter: How arguments and results are stored.
        plugins: Applied to the other arguments first, in order.
        interceptors: Called in order, the first one first.
        default_workflow_query_reject_condition: For queries that name none.
        header_codec_behavior: Whether the payload codec is applied to headers.
        payload_limit: Largest argument list or result in bytes.

    Raises:
        InvalidArgumentError: The namespace or the limit is not acceptable.
    """

    def __init__(
        self,
        service_client: Connection,
        *,
        namespace: str = "default",
        data_converter: DataConverter = DataConverter.default,
        plugins: Sequence[Plugin] = (),
        interceptors: Sequence[inputs.Interceptor] = (),
        default_workflow_query_reject_condition: QueryRejectCondition | None = None,
        header_codec_behavior: HeaderCodecBehavior = HeaderCodecBehavior.NO_CODEC,
        payload_limit: int = PAYLOAD_BYTES_MAX,
    ) -> None:
        config = ClientConfig(
            service_client=service_client,
            namespace=namespace,
            data_converter=data_converter,
            plugins=plugins,
            interceptors=interceptors,
            default_workflow_query_reject_condition=default_workflow_query_reject_condition,
            header_codec_behavior=header_codec_behavior,
            payload_limit=payload_limit,
        )
        self._given = config.copy()
        for plugin in plugins:
            config = plugin.configure_client(config)
        self._active = cast("dict[str, Any]", config)
        self.connection: Connection = self._active["service_client"]
        """The link to the backend; shared by clients made from this one's configuration."""
        self.namespace: str = checked_name(self._active["namespace"], "namespace")
        """The namespace."""
        limit: int = self._active.get("payload_limit", PAYLOAD_BYTES_MAX)
        check_limit(limit, self.connection.backend)
        self.payloads = Payloads(
            self._active["data_converter"], limit, self._active["header_codec_behavior"]
        )
        """How this client stores and reads values."""
        self.outside_id = os.urandom(16)
        """Under which this client touches activity tasks that no router of its own claimed."""
        self.outbound: inputs.OutboundInterceptor = Calls(self)
        """The interceptor chain, as handles call it."""
        for interceptor in reversed(list(self._active["interceptors"])):
            self.outbound = interceptor.intercept_client(self.outbound)

    @classmethod
    async def connect(
        cls,
        url: str | None = None,
        *,
        namespace: str = "default",
        data_converter: DataConverter = DataConverter.default,
        plugins: Sequence[Plugin] = (),
        interceptors: Sequence[inputs.Interceptor] = (),
        default_workflow_query_reject_condition: QueryRejectCondition | None = None,
        header_codec_behavior: HeaderCodecBehavior = HeaderCodecBehavior.NO_CODEC,
        payload_limit: int = PAYLOAD_BYTES_MAX,
        identity: str | None = None,
        lazy: bool = False,
        target_host: str | None = None,
        api_key: str | None = None,
        tls: Any = None,
        retry_config: Any = None,
        keep_alive_config: Any = None,
        rpc_metadata: Metadata = NO_METADATA,
        runtime: Any = None,
        http_connect_proxy_config: Any = None,
        dns_load_balancing_config: Any = None,
        grpc_compression: Any = None,
        payload_limits: Any = None,
    ) -> Self:
        """Connect to a database, creating or migrating the schema if need be.

        Arguments below ``target_host`` mean something to a server only, and are ignored.

        Args:
            url: ``sqlite:///file.db``, ``sqlite://``, ``postgresql://…`` or ``redis://…``. Default
                is the environment variable HOTMESH_URL, else ``sqlite:///hotmesh.db``.
            namespace: The namespace.
            data_converter: How arguments and results are stored.
            plugins: Applied first, in order.
            interceptors: Called in order, the first one first.
            default_workflow_query_reject_condition: For queries that name none.
            header_codec_behavior: Whether the payload codec is applied to headers.
            payload_limit: Largest argument list or result in bytes.
            identity: Who this client says it is. Default is process id and host name.
            lazy: Connect on the first call instead of now.
            target_host: The URL, by the name that ported code passes.
            api_key: Ignored.
            tls: Ignored, with a warning: the URL says how to connect.
            retry_config: Ignored.
            keep_alive_config: Ignored.
            rpc_metadata: Ignored.
            runtime: Ignored.
            http_connect_proxy_config: Ignored.
            dns_load_balancing_config: Ignored.
            grpc_compression: Ignored.
            payload_limits: Not supported: refused unless None; see ``payload_limit``.

        Raises:
            InvalidArgumentError: The URL's scheme, the namespace or the limit is not acceptable.
            MissingExtraError: The backend's library is not installed.
            SchemaVersionError: The database's schema is newer than this code.
            BackendUnavailableError: The database can't be reached.
        """
        if payload_limits is not None:
            raise UnsupportedOptionError(
                "payload_limits", "Client.connect", "payload_limit is the one limit there is"
            )
        chosen = chosen_url(url or target_host)
        warn_of_tls(tls, chosen)
        log_ignored(
            api_key=api_key,
            retry_config=retry_config,
            keep_alive_config=keep_alive_config,
            rpc_metadata=rpc_metadata,
            runtime=runtime,
            http_connect_proxy_config=http_connect_proxy_config,
            dns_load_balancing_config=dns_load_balancing_config,
            grpc_compression=grpc_compression,
        )
        connection = await connect(plugins, ConnectConfig(chosen, identity, lazy))
        try:
            return cls(
                connection,
                namespace=namespace,
                data_converter=data_converter,
                plugins=plugins,
                interceptors=interceptors,
                default_workflow_query_reject_condition=default_workflow_query_reject_condition,
                header_codec_behavior=header_codec_behavior,
                payload_limit=payload_limit,
            )
        except BaseException:
            await connection.close()
            raise

    async def close(self) -> None:
        """Finish the writes under way, cancel the waits, and close the connection. Idempotent.

        Clients made from this one's configuration share the connection, so they end as well.
        """
        await self.connection.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def config(self, *, active_config: bool = False) -> ClientConfig:
        """The configuration, to make a similar client of: ``Client(**config)``.

        Args:
            active_config: As plugins left it, instead of as given.
        """
        config = self._active if active_config else self._given
        return cast("ClientConfig", dict(config))

    @property
    def backend(self) -> Backend:
        """The backend it is connected to."""
        return self.connection.backend

    @property
    def service_client(self) -> Connection:
        """The connection, under the name ported code knows."""
        return self.connection

    @property
    def identity(self) -> str:
        """Who this client says it is."""
        return self.connection.identity

    @property
    def data_converter(self) -> DataConverter:
        """How arguments and results are stored."""
        return self.payloads.converter

    @property
    def default_workflow_query_reject_condition(self) -> QueryRejectCondition | None:
        """For queries that name none."""
        return self._active["default_workflow_query_reject_condition"]

    @property
    def plugins(self) -> Sequence[Plugin]:
        """Its plugins."""
        return self._active["plugins"]

    @property
    def interceptors(self) -> Sequence[inputs.Interceptor]:
        """Its interceptors; those that are worker interceptors too join its workers."""
        return self._active["interceptors"]

    async def start_workflow(
        self,
        workflow: str | Callable[..., Awaitable[Result]],
        arg: Any = ARG_UNSET,
        *,
        args: Sequence[Any] = (),
        id: str,  # noqa: A002 - the name ported code passes
        task_queue: str,
        result_type: type | None = None,
        execution_timeout: timedelta | None = None,
        run_timeout: timedelta | None = None,
        task_timeout: timedelta | None = None,
        id_reuse_policy: WorkflowIDReusePolicy = WorkflowIDReusePolicy.ALLOW_DUPLICATE,
        id_conflict_policy: WorkflowIDConflictPolicy = WorkflowIDConflictPolicy.UNSPECIFIED,
        retry_policy: RetryPolicy | None = None,
        cron_schedule: str = "",
        memo: Mapping[str, Any] | None = None,
        search_attributes: TypedSearchAttributes | SearchAttributes | None = None,
        static_summary: str | None = None,
        static_details: str | None = None,
        start_delay: timedelta | None = None,
        start_signal: Named | None = None,
        start_signal_args: Sequence[Any] = (),
        rpc_metadata: Metadata = NO_METADATA,
        rpc_timeout: timedelta | None = None,
        request_eager_start: bool = False,
        priority: Priority = Priority.default,
        versioning_override: VersioningOverride | None = None,
        expire: timedelta | float | None = None,
        record: Mapping[str, Any] | None = None,
    ) -> WorkflowHandle[Any, Result]:
        """Start a workflow; it is durable when this returns.

        The run's id is made before the first try, so a start that has to be repeated because the
        database was away (for up to about 30 seconds) starts one run, not two.

        Args:
            workflow: The workflow's run method or class, or its type's name.
            arg: Its only argument.
            args: Its arguments, if there is not exactly one.
            id: The workflow id.
            task_queue: Workers of this queue run it.
            result_type: What its result should be, if the workflow is given by name.
            execution_timeout: Longest time for it and all runs that continue or retry it.
            run_timeout: Longest time for one run.
            task_timeout: Accepted; HotMesh's deadlock detector is set on the worker.
            id_reuse_policy: Whether a closed workflow's id may be used.
            id_conflict_policy: What happens if a workflow of this id is running.
            retry_policy: How it is tried again when it fails. Default is not at all.
            cron_schedule: Not supported: refused unless empty.
            memo: Values to keep with it.
            search_attributes: Values to list it by.
            static_summary: One line for people.
            static_details: More for people.
            start_delay: How long to wait before its first step.
            start_signal: A signal sent with the start; if the workflow is running already, it
                only gets the signal.
            start_signal_args: The signal's arguments.
            rpc_metadata: Ignored.
            rpc_timeout: Longest wait; what was sent by then may still take effect.
            request_eager_start: Ignored; a worker in this process is woken at once anyway.
            priority: Not supported: refused unless empty.
            versioning_override: Not supported: refused unless None.
            expire: How long to keep it after it closed, in seconds if a number. Default is until
                it is pruned. (HotMesh's own.)
            record: Plain JSON values its record starts with. (HotMesh's own.)

        Returns:
            A handle of the workflow.

        Raises:
            WorkflowAlreadyStartedError: The id is taken.
            InvalidArgumentError: An argument is not acceptable; names it.
            ConversionError: An argument of the workflow can't be serialised; names it.
            PayloadTooLargeError: The arguments exceed the limit.
            BackendUnavailableError: The database could not be reached for about 30 seconds;
                whether the run was stored is not known.
        """
        name, found_type = workflow_named(workflow, result_type)
        return await self.outbound.start_workflow(
            inputs.StartWorkflowInput(
                workflow=name,
                args=arg_or_args(arg, args),
                id=id,
                task_queue=task_queue,
                execution_timeout=execution_timeout,
                run_timeout=run_timeout,
                task_timeout=task_timeout,
                id_reuse_policy=id_reuse_policy,
                id_conflict_policy=id_conflict_policy,
                retry_policy=retry_policy,
                cron_schedule=cron_schedule,
                memo=memo,
                search_attributes=search_attributes,
                start_delay=start_delay,
                headers={},
                start_signal=None if start_signal is None else signal_named(start_signal),
                start_signal_args=start_signal_args,
                static_summary=static_summary,
                static_details=static_details,
                ret_type=found_type,
                rpc_metadata=rpc_metadata,
                rpc_timeout=rpc_timeout,
                request_eager_start=request_eager_start,
                priority=priority,
                versioning_override=versioning_override,
                expire=expire,
                record=record,
            )
        )

    async def execute_workflow(
        self,
        workflow: str | Callable[..., Awaitable[Result]],
        arg: Any = ARG_UNSET,
        *,
        args: Sequence[Any] = (),
        id: str,  # noqa: A002 - the name ported code passes
        task_queue: str,
        result_type: type | None = None,
        execution_timeout: timedelta | None = None,
        run_timeout: timedelta | None = None,
        task_timeout: timedelta | None = None,
        id_reuse_policy: WorkflowIDReusePolicy = WorkflowIDReusePolicy.ALLOW_DUPLICATE,
        id_conflict_policy: WorkflowIDConflictPolicy = WorkflowIDConflictPolicy.UNSPECIFIED,
        retry_policy: RetryPolicy | None = None,
        cron_schedule: str = "",
        memo: Mapping[str, Any] | None = None,
        search_attributes: TypedSearchAttributes | SearchAttributes | None = None,
        static_summary: str | None = None,
        static_details: str | None = None,
        start_delay: timedelta | None = None,
        start_signal: Named | None = None,
        start_signal_args: Sequence[Any] = (),
        rpc_metadata: Metadata = NO_METADATA,
        rpc_timeout: timedelta | None = None,
        request_eager_start: bool = False,
        priority: Priority = Priority.default,
        versioning_override: VersioningOverride | None = None,
        expire: timedelta | float | None = None,
        record: Mapping[str, Any] | None = None,
    ) -> Result:
        """Start a workflow and wait for its result.

        Takes the arguments of :meth:`start_workflow`; the wait survives restarts of the database.

        Raises:
            WorkflowFailureError: It failed, was cancelled or terminated, or timed out.
            HotMeshError: What :meth:`start_workflow` raises.
        """
        handle = await self.start_workflow(
            workflow,
            arg,
            args=args,
            id=id,
            task_queue=task_queue,
            result_type=result_type,
            execution_timeout=execution_timeout,
            run_timeout=run_timeout,
            task_timeout=task_timeout,
            id_reuse_policy=id_reuse_policy,
            id_conflict_policy=id_conflict_policy,
            retry_policy=retry_policy,
            cron_schedule=cron_schedule,
            memo=memo,
            search_attributes=search_attributes,
            static_summary=static_summary,
            static_details=static_details,
            start_delay=start_delay,
            start_signal=start_signal,
            start_signal_args=start_signal_args,
            rpc_metadata=rpc_metadata,
            rpc_timeout=rpc_timeout,
            request_eager_start=request_eager_start,
            priority=priority,
            versioning_override=versioning_override,
            expire=expire,
            record=record,
        )
        return await handle.result()

    def get_workflow_handle(
        self,
        workflow_id: str,
        *,
        run_id: str | None = None,
        first_execution_run_id: str | None = None,
        result_type: type | None = None,
    ) -> WorkflowHandle[Any, Any]:
        """A handle of a workflow that was started before; nothing is read yet.

        Args:
            workflow_id: The workflow id.
            run_id: One run of it. Default is the newest.
            first_execution_run_id: Let only runs of this chain be cancelled or terminated.
            result_type: What its result should be.
        """
        return WorkflowHandle(
            self,
            workflow_id,
            run_id=run_id,
            result_run_id=run_id,
            first_execution_run_id=first_execution_run_id,
            result_type=result_type,
        )

    def get_workflow_handle_for(
        self,
        workflow: Callable[..., Awaitable[Result]],
        workflow_id: str,
        *,
        run_id: str | None = None,
        first_execution_run_id: str | None = None,
    ) -> WorkflowHandle[Any, Result]:
        """Like :meth:`get_workflow_handle`, with the result type of a workflow."""
        return self.get_workflow_handle(
            workflow_id,
            run_id=run_id,
            first_execution_run_id=first_execution_run_id,
            result_type=workflow_named(workflow)[1],
        )

    def list_workflows(
        self,
        query: str | None = None,
        *,
        limit: int | None = None,
        page_size: int = 1000,
        next_page_token: bytes | None = None,
        rpc_metadata: Metadata = NO_METADATA,
        rpc_timeout: timedelta | None = None,
    ) -> WorkflowExecutionAsyncIterator:
        """List workflows, newest first.

        Args:
            query: ``name = value`` and ``name IN (value, …)``, joined by AND, OR and parentheses,
                over WorkflowType, WorkflowId, TaskQueue, ExecutionStatus and attributes. Default is
                all.
            limit: Most runs to list.
            page_size: Runs to read at once.
            next_page_token: Where to begin; from another iterator.
            rpc_metadata: Ignored.
            rpc_timeout: Longest wait; what was sent by then may still take effect.

        Raises:
            InvalidArgumentError: The query asks for more than is supported, or, as it is iterated,
                for an attribute that was never declared nor written; names it.
        """
        return self.outbound.list_workflows(
            inputs.ListWorkflowsInput(
                query, page_size, next_page_token, rpc_metadata, rpc_timeout, limit
            )
        )

    async def count_workflows(
        self,
        query: str | None = None,
        rpc_metadata: Metadata = NO_METADATA,
        rpc_timeout: timedelta | None = None,
    ) -> WorkflowExecutionCount:
        """Count workflows.

        Args:
            query: As for :meth:`list_workflows`; may end with ``GROUP BY ExecutionStatus``.
            rpc_metadata: Ignored.
            rpc_timeout: Longest wait; what was sent by then may still take effect.

        Raises:
            InvalidArgumentError: The query asks for more than is supported; names the term.
        """
        return await self.outbound.count_workflows(
            inputs.CountWorkflowsInput(query, rpc_metadata, rpc_timeout)
        )

    def get_async_activity_handle(
        self,
        *,
        workflow_id: str | None = None,
        run_id: str | None = None,
        activity_id: str | None = None,
        task_token: bytes | None = None,
    ) -> AsyncActivityHandle:
        """A handle of an activity that is completed from outside.

        Args:
            workflow_id: Its workflow, if it is named by ids.
            run_id: One run of it. Default is the newest.
            activity_id: Its id in the workflow.
            task_token: Its token, instead of ids.

        Raises:
            InvalidArgumentError: Neither or both were given.
        """
        if task_token is not None:
            if workflow_id is not None or run_id is not None or activity_id is not None:
                raise InvalidArgumentError("Task token cannot be present with other IDs")
            return AsyncActivityHandle(self, task_token)
        if workflow_id is None or activity_id is None:
            raise InvalidArgumentError(
                "Workflow ID and activity ID must be present, or a task token"
            )
        return AsyncActivityHandle(self, AsyncActivityIDReference(workflow_id, run_id, activity_id))

    # -- for handles and calls --

    def operation_handle(
        self, start: inputs.UpdateWithStartStartWorkflowInput, run_id: str
    ) -> WorkflowHandle[Any, Any]:
        """A handle of the run that an update with start made or found."""
        return WorkflowHandle(
            self,
            start.id,
            result_run_id=run_id,
            first_execution_run_id=run_id,
            result_type=start.ret_type,
        )

    async def find_run(self, workflow_id: str, run_id: str | None) -> RunRow:
        """The row of a run, or of the newest one.

        Raises:
            RPCError: NOT_FOUND.
        """
        await self.connection.ready()
        key = wire.run_id_bytes(run_id) if run_id else b""
        if run_id and not key:
            raise not_found(workflow_id, run_id)
        row = (await self.connection.patient.find([(self.namespace, workflow_id, key)]))[0]
        if row is None:
            raise not_found(workflow_id, run_id)
        return row

    async def listing(self) -> PatientCalls:
        """Where runs are listed from."""
        await self.connection.ready()
        return self.connection.patient
