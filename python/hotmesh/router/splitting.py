"""A step that the database refuses because of its data: applied run by run, without the guilty.

A step is one transaction, but each run's part of it could be one of its own: what is atomic is a
run's transition. So a refused step is applied by halves until the parts that are refused hold one
run each. Acknowledgements are left out: what a part has handled is read again, known by the run's
ledger, and acknowledged then.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from hotmesh.backends.protocol import Session, Step
from hotmesh.retrying import PASSING
from hotmesh.router.effects import Effects

_BY_RUN = (
    "journal",
    "timer",
    "drop_timer",
    "task",
    "outside",
    "drop_task",
    "recall_task",
    "attribute",
    "close",
    "move",
)
"""Columns that name the run that they are of."""

NOBODY = b""
"""Whose part it is that belongs to no run."""

Part = tuple[bytes, Step]
"""A run's share of a step."""


class FencedError(Exception):
    """The router was declared dead meanwhile."""


def parts_of(step: Step, effects: Effects) -> list[Part]:
    """A step by run, in the order in which the runs first appear in it.

    Args:
        step: The whole.
        effects: What filled it, which knows whose each start, message and reply is.
    """
    parts: dict[bytes, Step] = {}

    def part(run_id: bytes) -> Step:
        found = parts.get(run_id)
        if found is None:
            found = parts[run_id] = Step(step.router_id, latest_ms=step.latest_ms)
        return found

    for prefix in _BY_RUN:
        names = _columns(prefix)
        owners: Sequence[bytes] = getattr(step, f"{prefix}_run")
        for at, run_id in enumerate(owners):
            for name in names:
                getattr(part(run_id), name).append(getattr(step, name)[at])
    for at, item in enumerate(effects.starts):
        part(effects.owner_of("starts", at)).starts.append(item)
    for at, item in enumerate(effects.sends):
        part(effects.owner_of("sends", at)).sends.append(item)
    for item in effects.waits:
        part(item.run_id).waits.append(item)
    for at, item in enumerate(effects.mails):
        part(effects.owner_of("mails", at)).mails.append(item)
    for at in range(len(effects.messages)):
        mine = part(effects.owner_of("messages", at))
        for name in _columns("message"):
            getattr(mine, name).append(getattr(step, name)[at])
    for at in range(len(effects.replies)):
        mine = part(effects.owner_of("replies", at))
        for name in _columns("reply"):
            getattr(mine, name).append(getattr(step, name)[at])
    return list(parts.items())


async def refuses_everything(
    session: Session, router_id: bytes, latest_ms: int | None
) -> Exception | None:
    """Why the database refuses even a step that holds nothing, if so: it is no run's data then.

    Args:
        session: Where.
        router_id: The router's.
        latest_ms: What it takes the store's time for, if it knows.

    Raises:
        BackendUnavailableError: the store is away.
        BackendAccessError: it turns us away.
    """
    try:
        await session.step(Step(router_id, latest_ms=latest_ms))
    except PASSING:
        raise
    except Exception as error:  # noqa: BLE001 - as it refused the step before, for any reason
        return error
    return None


async def apply_apart(session: Session, parts: Sequence[Part]) -> dict[bytes, Exception]:
    """Apply the parts of a step that the database takes; why it refuses the others, by run.

    A run that can't close yet, because a message waits for it, or that another router has moved, is
    left as it was.

    Raises:
        BackendUnavailableError: the store is away.
        BackendAccessError: it turns us away.
        FencedError: nothing more is applied.
    """
    if not parts:
        return {}
    try:
        reply = await session.step(_joined(parts))
    except PASSING:
        raise
    except Exception as error:  # noqa: BLE001 - whatever it is, it is found by halves
        if len(parts) == 1:
            return {parts[0][0]: error}
    else:
        if reply.fenced:
            raise FencedError
        if not (reply.refused or reply.stale) or len(parts) == 1:
            return {}
    middle = len(parts) // 2
    refused = await apply_apart(session, parts[:middle])
    return refused | await apply_apart(session, parts[middle:])


def _joined(parts: Sequence[Part]) -> Step:
    if len(parts) == 1:
        return parts[0][1]
    first = parts[0][1]
    whole = Step(first.router_id, latest_ms=first.latest_ms)
    for _, step in parts:
        for name in _ALL:
            getattr(whole, name).extend(getattr(step, name))
    return whole


def _columns(prefix: str) -> tuple[str, ...]:
    return _COLUMNS[prefix]


def _fields() -> dict[str, tuple[str, ...]]:
    names = [each.name for each in dataclasses.fields(Step)]
    found: dict[str, tuple[str, ...]] = {}
    for prefix in (*_BY_RUN, "message", "reply"):
        found[prefix] = tuple(name for name in names if name.rpartition("_")[0] == prefix)
    return found


_COLUMNS = _fields()
_ALL = (
    *(name for names in _COLUMNS.values() for name in names),
    "starts",
    "sends",
    "waits",
    "mails",
)
