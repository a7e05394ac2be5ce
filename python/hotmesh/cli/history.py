"""Events of a journal, decoded for people and programs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import Any, cast

from hotmesh.cli.failures import failure_document, one_line
from hotmesh.cli.output import to_json
from hotmesh.cli.times import exact, moment
from hotmesh.client import WorkflowHistory
from hotmesh.client._payloads import Payloads
from hotmesh.core import kinds
from hotmesh.engine import wire
from hotmesh.exceptions import ConversionError

Event = tuple[int, int, int, str, bytes, bytes]
"""Kind, seq, number, name, meta, body."""

DETAILS_MAX = 80
"""Characters of an event's details in a table; JSON has all of them."""

_RUN_ID_BYTES = 16
_TIMEOUTS = {1: "schedule to start", 2: "schedule to close"}


class EventReader:
    """Decodes the events of one run.

    A body that can't be read is shown as such: one bad event must not hide the others.

    Args:
        payloads: How values are read.
        history: The run.
    """

    def __init__(self, payloads: Payloads, history: WorkflowHistory) -> None:
        self._payloads = payloads
        self._input = history.input

    async def read(self, event: Event) -> dict[str, Any]:
        """An event for programs: what it is, and the values it carries."""
        kind, seq, _, name, _, _ = event
        document: dict[str, Any] = {"event": event_name(kind)}
        if seq:
            document["seq"] = seq
        if name:
            document["name"] = name
        read = _READERS.get(kind)
        if read is not None:
            try:
                document |= await read(self, event)
            except (ConversionError, ValueError, KeyError) as error:
                document["unreadable"] = one_line(error)
        return document

    async def _values(self, event: Event) -> dict[str, Any]:
        document, body = wire.split_document(event[5])
        values = await self._payloads.decode(body, None, "a stored event")
        return {
            "values": values,
            **({"update_id": document["id"]} if "id" in document else {}),
            **({"reason": document["reason"]} if document.get("reason") else {}),
        }

    async def _started(self, event: Event) -> dict[str, Any]:
        del event
        return {"values": await self._payloads.decode(self._input, None, "the run's arguments")}

    async def _failure(self, event: Event) -> dict[str, Any]:
        if not event[5]:
            return {}
        return {"failure": failure_document(await self._payloads.decode_error(event[5]))}

    async def _activity_timeout(self, event: Event) -> dict[str, Any]:
        return {"timeout": _TIMEOUTS.get(event[2], "unknown"), **await self._failure(event)}

    async def _json(self, event: Event) -> dict[str, Any]:
        return {"values": wire.load(event[5])}

    async def _text(self, event: Event) -> dict[str, Any]:
        return {"reason": event[5].decode()} if event[5] else {}

    async def _due(self, event: Event) -> dict[str, Any]:
        return {"due": exact(moment(event[2]))}

    async def _update_outcome(self, event: Event) -> dict[str, Any]:
        status, rest = event[5][:1], event[5][1:]
        if status == b"R":
            return {"values": await self._payloads.decode(rest, None, "an update's result")}
        return {"failure": failure_document(await self._payloads.decode_error(rest))}

    async def _child(self, event: Event) -> dict[str, Any]:
        options = wire.load(event[4])
        return {"child_id": options["id"], **await self._values(event)}

    async def _child_started(self, event: Event) -> dict[str, Any]:
        return {"run_id": wire.run_id_text(event[4])}

    async def _target(self, event: Event) -> dict[str, Any]:
        return {"to": wire.load(event[4])["wid"], **(await self._values(event))}

    async def _continued(self, event: Event) -> dict[str, Any]:
        body = event[5]
        values = await self._payloads.decode(body[_RUN_ID_BYTES:], None, "the next arguments")
        return {"run_id": wire.run_id_text(body[:_RUN_ID_BYTES]), "values": values}


_Read = Callable[[EventReader, Event], Awaitable[Mapping[str, Any]]]

# pyright: reportPrivateUsage=false
_READERS: dict[int, _Read] = {
    kinds.START: EventReader._started,
    kinds.ACTIVITY: EventReader._values,
    kinds.ACTIVITY_COMPLETED: EventReader._values,
    kinds.ACTIVITY_FAILED: EventReader._failure,
    kinds.ACTIVITY_CANCELED: EventReader._failure,
    kinds.ACTIVITY_TIMED_OUT: EventReader._activity_timeout,
    kinds.TIMER: EventReader._due,
    kinds.DEADLINE: EventReader._due,
    kinds.SIGNAL: EventReader._values,
    kinds.QUERY: EventReader._values,
    kinds.UPDATE: EventReader._values,
    kinds.UPDATE_COMPLETED: EventReader._update_outcome,
    kinds.CANCEL: EventReader._text,
    kinds.TERMINATE: EventReader._values,
    kinds.CHILD: EventReader._child,
    kinds.CHILD_STARTED: EventReader._child_started,
    kinds.CHILD_COMPLETED: EventReader._values,
    kinds.CHILD_FAILED: EventReader._failure,
    kinds.SIGNAL_EXTERNAL: EventReader._target,
    kinds.CANCEL_EXTERNAL: EventReader._target,
    kinds.MAIL: EventReader._values,
    kinds.SEND_MAIL: EventReader._values,
    kinds.ENRICH: EventReader._json,
    kinds.EMIT: EventReader._json,
    kinds.TRACE: EventReader._json,
    kinds.COMPLETE: EventReader._values,
    kinds.FAIL: EventReader._failure,
    kinds.CANCELED: EventReader._failure,
    kinds.CONTINUE: EventReader._continued,
}
"""How the bodies of each kind of event are read; other kinds have nothing to show."""


def event_name(kind: int) -> str:
    """A kind's name for people, e.g. ``ActivityCompleted``."""
    return kinds.NAMES.get(kind, f"Unknown_{kind}").title().replace("_", "")


_DIGESTS = event_name(kinds.DIGESTS)


def table_rows(transitions: Sequence[Mapping[str, Any]]) -> list[tuple[str, ...]]:
    """A table's rows: what reached the run (→) and what it asked for (←), step by step."""
    return [row for each in transitions for row in _rows(each)]


def _rows(transition: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    for arrow, events in (("→", transition["jobs"]), ("←", transition["commands"])):
        for event in events:
            if event["event"] == _DIGESTS:
                continue  # They say nothing to people; JSON has them.
            yield (
                str(transition["number"]),
                str(transition["time"])[11:23],
                f"{arrow} {event['event']}",
                str(event.get("seq", "")),
                event.get("name", ""),
                _details(event),
            )


def _details(event: Mapping[str, Any]) -> str:
    rest = {name: event[name] for name in event if name not in ("event", "seq", "name")}
    if "values" in rest:
        values = to_json(rest.pop("values"))
        parts = [values, *(f"{name}={value}" for name, value in rest.items())]
    else:
        parts = [f"{name}={_short(value)}" for name, value in rest.items()]
    text = " ".join(parts)
    return text if len(text) <= DETAILS_MAX else text[: DETAILS_MAX - 1] + "…"


def _short(value: Any) -> str:
    """A value in a table; of a failure, its root cause, which is what one looks for."""
    if not isinstance(value, dict):
        return str(value)
    failure = cast("dict[str, Any]", value)
    while "cause" in failure or "members" in failure:
        failure = failure["members"][0] if "members" in failure else failure["cause"]
    said = (failure.get(key) for key in ("error", "type", "message"))
    return ": ".join(str(each) for each in said if each)
