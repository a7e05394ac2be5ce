"""The clients and workers that the face has open, shared by all who name the same place.

One client per (database, namespace) and one worker per (database, namespace, task queue), in each
event loop.
"""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from hotmesh.client import Client
from hotmesh.engine.definition import WorkflowDefinition
from hotmesh.meshflow import _proxy
from hotmesh.meshflow._connection import Source
from hotmesh.meshflow._definition import Function, named_activities, same_place
from hotmesh.meshflow._services import SERVICES
from hotmesh.worker import Worker

THREADS_MAX = 100
"""Threads of one worker for activity functions that are not coroutines."""

Place = tuple[Source, str, str]
"""Database, namespace, task queue."""


class Host:
    """One running worker, and what it hosts."""

    def __init__(
        self,
        client: Client,
        task_queue: str,
        workflows: Sequence[WorkflowDefinition],
        activities: dict[str, Function],
        events_url: str | None,
    ) -> None:
        self._task_queue = task_queue
        self._activities = activities
        self._workflows = {each.name: each for each in workflows}
        self._threads = ThreadPoolExecutor(THREADS_MAX, thread_name_prefix="hotmesh activity")
        self._worker = Worker(
            client,
            task_queue=task_queue,
            workflows=list(workflows),
            activities=list(activities.values()),
            activity_executor=self._threads,
            events_url=events_url,
            on_fatal_error=self._failed,
        )
        loop = asyncio.get_running_loop()
        self._joined: asyncio.Future[None] = loop.create_future()
        self._stopping = asyncio.Event()
        self._running = loop.create_task(self._work(), name=f"hotmesh host of {task_queue}")

    async def joined(self) -> None:
        """Wait until the worker takes part in its task queue; raises what prevented it."""
        await asyncio.wait({self._running, self._joined}, return_when=asyncio.FIRST_COMPLETED)
        if self._running.done():
            self._running.result()

    def add_workflow(self, definition: WorkflowDefinition) -> None:
        """Host a further workflow type. One defined in the same place is replaced: its cell of a
        notebook, or its module, was run again.

        Raises:
            ValueError: It hosts one of that name that is defined elsewhere.
        """
        known = self._workflows.get(definition.name)
        if known is not None and not same_place(known.run_fn, definition.run_fn):
            raise ValueError(
                f"The worker of task queue {self._task_queue!r} hosts a different workflow "
                f"{definition.name!r} already"
            )
        self._worker.add_workflow(definition)
        self._workflows[definition.name] = definition

    def add_activity(self, name: str, function: Function) -> None:
        """Host a further activity; one defined in the same place is replaced.

        Raises:
            ValueError: It hosts one of that name that is defined elsewhere.
        """
        known = self._activities.get(name)
        if known is function:
            return
        if known is not None and not same_place(known, function):
            raise ValueError(
                f"The worker of task queue {self._task_queue!r} hosts a different activity "
                f"{name!r} already"
            )
        self._worker.add_activity(function, replace=known is not None)
        self._activities[name] = function

    async def wait(self) -> None:
        """Wait until the worker ends; raises what ended it."""
        await asyncio.shield(self._running)

    async def close(self) -> None:
        """Stop the worker in good order; raises what ended it before."""
        self._stopping.set()
        await self._running

    async def _work(self) -> None:
        try:
            async with self._worker:
                if not self._joined.done():
                    self._joined.set_result(None)
                await self._stopping.wait()
        finally:
            self._threads.shutdown(wait=False)

    async def _failed(self, error: BaseException) -> None:
        del error  # The worker has logged it, and raises it when it is left.
        self._stopping.set()


class Registry:
    """What is open in one event loop."""

    def __init__(self) -> None:
        self._clients: dict[tuple[Source, str], Client] = {}
        self._hosts: dict[Place, Host] = {}
        self._lock = asyncio.Lock()

    @property
    def hosts(self) -> dict[Place, Host]:
        """The running workers."""
        return self._hosts

    async def client(self, source: Source, namespace: str) -> Client:
        """The client of a place; connects on first use."""
        async with self._lock:
            return await self._client(source, namespace)

    async def _client(self, source: Source, namespace: str) -> Client:
        found = self._clients.get((source, namespace))
        if found is None:
            open_ones = [client for (other, _), client in self._clients.items() if other == source]
            if isinstance(source, Client):
                open_ones = [source]
            if open_ones:  # One connection carries the batches of all namespaces.
                config: Any = {**open_ones[0].config(), "namespace": namespace}
                found = Client(**config)
            else:
                assert not isinstance(source, Client)
                found = await Client.connect(source, namespace=namespace)
            self._clients[source, namespace] = found
        return found

    async def host(
        self,
        place: Place,
        workflows: Sequence[WorkflowDefinition],
        activities: Mapping[str, Function],
        events_url: str | None,
    ) -> Host:
        """The worker of a place, hosting these as well."""
        async with self._lock:
            host = self._hosts.get(place)
            if host is None:
                source, namespace, task_queue = place
                client = await self._client(source, namespace)
                everything = {**named_activities(SERVICES), **_proxy.offered(), **activities}
                host = Host(client, task_queue, workflows, everything, events_url)
                await host.joined()
                self._hosts[place] = host
            else:
                for name, function in activities.items():
                    host.add_activity(name, function)
                for definition in workflows:
                    host.add_workflow(definition)
            return host

    async def release(self, host: Host) -> None:
        """Stop one worker; nothing happens if it has been stopped."""
        for place, each in list(self._hosts.items()):
            if each is host:
                del self._hosts[place]
                await host.close()

    async def close(self) -> None:
        """Stop all workers, then close all clients that were opened here; raises what ended a
        worker before."""
        async with self._lock:
            hosts, self._hosts = list(self._hosts.values()), {}
            clients = [
                client
                for (source, _), client in self._clients.items()
                if not isinstance(source, Client)
            ]
            self._clients = {}
        outcomes: list[Any] = await asyncio.gather(
            *(host.close() for host in hosts), return_exceptions=True
        )
        outcomes += await asyncio.gather(
            *(client.close() for client in clients), return_exceptions=True
        )
        errors = [each for each in outcomes if isinstance(each, BaseException)]
        if errors:
            raise errors[0]


_registries: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Registry] = (
    weakref.WeakKeyDictionary()
)


def registry() -> Registry:
    """What is open in the running event loop."""
    loop = asyncio.get_running_loop()
    found = _registries.get(loop)
    if found is None:
        found = _registries[loop] = Registry()
    return found


def _host_everywhere(name: str, function: Function) -> None:
    for each in list(_registries.values()):
        for host in list(each.hosts.values()):
            host.add_activity(name, function)


_proxy.watch(_host_everywhere)
