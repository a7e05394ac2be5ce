"""Who hosts what, by the rollcall, and why something is not answered."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, cast

from hotmesh.backends.protocol import RouterRow, RunRow, RunStatus
from hotmesh.engine import wire
from hotmesh.exceptions import HotMeshError

if TYPE_CHECKING:
    from hotmesh.client import Client

Kind = Literal["workflow_types", "activity_types"]

ANY = "*"
"""The type that stands for all, in what a worker says that it hosts."""

LOOK_S = 2.0
"""How long it is looked why something was not answered."""


class Hosts:
    """What the live workers of a namespace host.

    Args:
        routers: The rollcall.
    """

    def __init__(self, routers: Sequence[RouterRow]) -> None:
        self._types: dict[tuple[str, Kind], set[str]] = {}
        self._identities: dict[bytes, str] = {}
        for router in routers:
            info = _info_of(router)
            self._identities[bytes(router.router_id)] = str(info.get("identity") or "")
            if router.alive:
                for kind in ("workflow_types", "activity_types"):
                    known = self._types.setdefault((router.task_queue, kind), set())
                    known.update(info.get(kind) or ())

    def host(self, task_queue: str, kind: Kind, type_name: str) -> bool:
        """Whether a live worker of a task queue hosts a type."""
        types = self._types.get((task_queue, kind), ())
        return type_name in types or ANY in types

    def has_worker(self, task_queue: str) -> bool:
        """Whether a live worker offers anything for a task queue."""
        return (task_queue, "workflow_types") in self._types

    def identity(self, router_id: bytes) -> str:
        """The name of a worker, dead or alive; empty if it is not known."""
        return self._identities.get(router_id, "")


def _info_of(router: RouterRow) -> dict[str, Any]:
    """What a router says of itself; if its row is damaged (until it beats), that it hosts all."""
    try:
        info: Any = wire.load(router.info)
    except (TypeError, ValueError):
        info = None
    if isinstance(info, dict):
        return cast("dict[str, Any]", info)
    return {"workflow_types": [ANY], "activity_types": [ANY]}


async def why_unanswered(client: Client, workflow_id: str, run_id: bytes) -> str:
    """Why a workflow does not answer, as a sentence; empty if nothing is wrong with it.

    Args:
        client: The client.
        workflow_id: The workflow.
        run_id: Its run; b"" for the newest.
    """
    row, hosts = await _look(client, workflow_id, run_id)
    return "" if row is None else _why(row, hosts)


async def why_not_taken_up(
    client: Client, workflow_id: str, run_id: bytes, *, by_code: bool = True
) -> str:
    """That nobody takes up what was sent to an open workflow, as sentences; else empty.

    Args:
        client: The client.
        workflow_id: The workflow.
        run_id: Its run; b"" for the newest.
        by_code: Whether its code is asked. Any worker of its task queue ends a run without that.
    """
    row, hosts = await _look(client, workflow_id, run_id)
    if row is None or row.status != RunStatus.RUNNING:
        return ""
    nobody = _nobody(row, hosts, by_code=by_code)
    if not nobody:
        return ""
    name = f" that hosts {row.workflow_type!r}" if by_code else ""
    return f"{nobody} It waits until there is one: start a worker of {row.task_queue!r}{name}."


async def _look(client: Client, workflow_id: str, run_id: bytes) -> tuple[RunRow | None, Hosts]:
    """A run, and who hosts what; no run where it can't be told in time."""
    namespace, backend = client.namespace, client.connection.backend
    try:
        async with asyncio.timeout(LOOK_S):
            row = (await backend.find([(namespace, workflow_id, run_id)]))[0]
            return row, Hosts(() if row is None else await backend.routers(namespace))
    except (TimeoutError, HotMeshError, ValueError):
        return None, Hosts(())  # The caller knows what it has; of more nobody is sure.


def _nobody(row: RunRow, hosts: Hosts, *, by_code: bool = True) -> str:
    """That no live worker is there for a run, as a sentence; else empty."""
    queue, name = row.task_queue, row.workflow_type
    if not hosts.has_worker(queue):
        return f"No worker is running for its task queue {queue!r}."
    if by_code and not hosts.host(queue, "workflow_types", name):
        return f"No live worker of its task queue {queue!r} hosts its type {name!r}."
    return ""


def _why(row: RunRow, hosts: Hosts) -> str:
    nobody = _nobody(row, hosts)
    if nobody or row.status != RunStatus.RUNNING:
        return nobody  # a task that failed before it ended says nothing of now
    stored: Any = wire.load(row.attributes).get("hotmesh.task_failure")
    if isinstance(stored, dict):
        failure = cast("dict[str, Any]", stored)
        where = f" ({failure['where'][-1]})" if failure.get("where") else ""
        said = f"{failure.get('type')}: {failure.get('message')}{where}"
        return f"Its workflow task fails, attempt {failure.get('attempt')}: {said}."
    return ""
