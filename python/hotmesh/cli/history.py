"""Events of a journal, decoded for people and programs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import Any, cast

from hotmesh.cli.failures import failure_document, one_line
from hotmesh.cli.output import to_json
from hotmesh.cli.times import exact, moment
from hotmesh.client import WorkflowHistory
from hotmesh.client._payloads import Payloads
from hotmesh.core import Event, kinds
from hotmesh.core.kind_table import Body, Meta, Number
from hotmesh.engine import wire
from hotmesh.exceptions import ConversionError

DETAILS_MAX = 80
"""Characters of an event's details in a table; JSON has all of them."""

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
        try:
            for read in _READERS.get(kind, ()):
                document |= await read(self, event)
        except (ConversionError, ValueError, KeyError) as error:
            document["unreadable"] = one_line(error)
        return document

    async def _values(self, event: Event) -> _Shown:
        document, body = wire.split_document(event[5])
        values = await self._payloads.decode(body, None, "a stored event")
        return {
            "values": values,
            **({"update_id": document["id"]} if "id" in document else {}),
            **({"reason": document["reason"]} if document.get("reason") else {}),
        }

    async def _started(self, event: Event) -> _Shown:
        del event
        return {"values": await self._payloads.decode(self._input, None, "the run's arguments")}

    async def _failure(self, event: Event) -> _Shown:
        following, body = wire.split_following(event[5])
        found = {"run_id": wire.run_id_text(following)} if following else {}
        if not body:
            return found
        return {**found, "failure": failure_document(await self._payloads.decode_error(body))}

    async def _purpose(self, event: Event) -> _Shown:
        return {"timeout": _TIMEOUTS.get(event[2], "unknown")}

    async def _json(self, event: Event) -> _Shown:
        return {"values": wire.load(event[5])}

    async def _text(self, event: Event) -> _Shown:
        return {"reason": event[5].decode()} if event[5] else {}

    async def _due(self, event: Event) -> _Shown:
        return {"due": exact(moment(event[2]))}

    async def _outcome(self, event: Event) -> _Shown:
        status, rest = event[5][:1], event[5][1:]
        if status == b"R":
            return {"values": await self._payloads.decode(rest, None, "an update's result")}
        return {"failure": failure_document(await self._payloads.decode_error(rest))}

    async def _child(self, event: Event) -> _Shown:
        return {"child_id": wire.load(event[4])["id"]}

    async def _run_id(self, event: Event) -> _Shown:
        return {"run_id": wire.run_id_text(event[4])} if event[4] else {}

    async def _target(self, event: Event) -> _Shown:
        return {"to": wire.load(event[4])["wid"]}

    async def _next(self, event: Event) -> _Shown:
        body = event[5]
        values = await self._payloads.decode(body[wire.RUN_ID_BYTES :], None, "the next arguments")
        return {"run_id": wire.run_id_text(body[: wire.RUN_ID_BYTES]), "values": values}

    async def _upserted(self, event: Event) -> _Shown:
        """A memo's values are stored as a client's are, attributes with their types."""
        given = wire.load(event[5])
        if event[3] != "memo":
            return {"values": {name: each and each[1] for name, each in given.items()}}
        values: dict[str, Any] = {}
        for name, text in given.items():
            body = b"" if text is None else wire.unpack_bytes(text)
            found = await self._payloads.decode(body, None, f"memo {name!r}")
            values[name] = found[0] if found else None
        return {"values": values}


_Shown = Mapping[str, Any]
_Read = Callable[[EventReader, Event], Awaitable[_Shown]]

# pyright: reportPrivateUsage=false
_OF_NUMBER: dict[Number, _Read] = {
    Number.DUE: EventReader._due,
    Number.PURPOSE: EventReader._purpose,
}
_OF_META: dict[Meta, _Read] = {
    Meta.TARGET: EventReader._target,
    Meta.RUN_ID: EventReader._run_id,
}
_OF_BODY: dict[Body, _Read] = {
    Body.VALUES: EventReader._values,
    Body.FAILURE: EventReader._failure,
    Body.OUTCOME: EventReader._outcome,
    Body.NEXT: EventReader._next,
    Body.JSON: EventReader._json,
    Body.TEXT: EventReader._text,
}
"""How what an event carries is read; the rest says nothing to people."""

_READERS: dict[int, list[_Read]] = {
    row.kind: [
        read
        for read in (
            _OF_NUMBER.get(row.number),
            _OF_META.get(row.meta),
            _OF_BODY.get(row.body),
        )
        if read is not None
    ]
    for row in kinds.TABLE
}
_READERS[kinds.START] = [EventReader._started]  # its values are in the run's row
_READERS[kinds.CHILD].insert(0, EventReader._child)
_READERS[kinds.UPSERT] = [EventReader._upserted]


def event_name(kind: int) -> str:
    """A kind's name for people, e.g. ``ActivityCompleted``."""
    return kinds.NAMES.get(kind, f"Unknown_{kind}").title().replace("_", "")


_UNTOLD = frozenset(map(event_name, kinds.UNTOLD))


def table_rows(transitions: Sequence[Mapping[str, Any]]) -> list[tuple[str, ...]]:
    """A table's rows: what reached the run (→) and what it asked for (←), step by step."""
    return [row for each in transitions for row in _rows(each)]


def _rows(transition: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    for arrow, events in (("→", transition["jobs"]), ("←", transition["commands"])):
        for event in events:
            if event["event"] in _UNTOLD:
                continue  # It says nothing to people; JSON has it.
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
