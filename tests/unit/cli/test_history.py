"""Journal events, decoded for people and programs."""

from typing import Any

import pytest

from hotmesh.cli.history import DETAILS_MAX, EventReader, event_name, table_rows
from hotmesh.client import WorkflowHistory
from hotmesh.client._payloads import Payloads
from hotmesh.converter import DataConverter, encode_failure, encode_values
from hotmesh.core import kinds
from hotmesh.core.kind_table import Body, Meta, Row
from hotmesh.engine import wire
from hotmesh.exceptions import ApplicationError

RUN_ID = bytes(range(16))
RUN_TEXT = wire.run_id_text(RUN_ID)
DUE_MS = 1_700_000_000_250
DUE_TEXT = "2023-11-14T22:13:20.250+00:00"


def values(*items: Any) -> bytes:
    return encode_values(DataConverter.default, items, "test")


FAILURE = encode_failure(DataConverter.default, ApplicationError("refused", type="CardError"))
MEMO = wire.dump({"note": wire.pack_bytes(values("n")), "old": None})
FAILURE_DOCUMENT = {
    "error": "ApplicationError",
    "message": "refused",
    "type": "CardError",
    "details": [],
}


def reader() -> EventReader:
    history = WorkflowHistory(workflow_id="w", events=[], input=values("first", 2))
    return EventReader(Payloads(DataConverter.default, 1000), history)


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        ((kinds.START, 0, 0, "", b"", b""), {"event": "Start", "values": ["first", 2]}),
        (
            (kinds.ACTIVITY, 3, 0, "charge", b"{}", values(7)),
            {"event": "Activity", "seq": 3, "name": "charge", "values": [7]},
        ),
        (
            (kinds.ACTIVITY_FAILED, 3, 1, "TIMEOUT", b"", FAILURE),
            {
                "event": "ActivityFailed",
                "seq": 3,
                "name": "TIMEOUT",
                "failure": FAILURE_DOCUMENT,
            },
        ),
        (
            (kinds.ACTIVITY_TIMED_OUT, 3, 1, "", b"", b""),
            {"event": "ActivityTimedOut", "seq": 3, "timeout": "schedule to start"},
        ),
        ((kinds.TIMER, 4, DUE_MS, "", b"", b""), {"event": "Timer", "seq": 4, "due": DUE_TEXT}),
        ((kinds.TIMER_FIRED, 4, 0, "", b"", b""), {"event": "TimerFired", "seq": 4}),
        (
            (kinds.UPDATE, 0, 0, "set", b"", wire.join_document({"id": "u-1"}, values(1))),
            {"event": "Update", "name": "set", "values": [1], "update_id": "u-1"},
        ),
        (
            (kinds.UPDATE_COMPLETED, 0, 0, "set", b"u-1", b"R" + values("ok")),
            {"event": "UpdateCompleted", "name": "set", "values": ["ok"]},
        ),
        (
            (kinds.UPDATE_COMPLETED, 0, 0, "set", b"u-1", b"F" + FAILURE),
            {"event": "UpdateCompleted", "name": "set", "failure": FAILURE_DOCUMENT},
        ),
        (
            (kinds.CANCEL, 0, 0, "", b"", "Jürgen says so".encode()),
            {"event": "Cancel", "reason": "Jürgen says so"},
        ),
        (
            (kinds.TERMINATE, 0, 0, "", b"", wire.join_document({"reason": "bad"}, values())),
            {"event": "Terminate", "values": [], "reason": "bad"},
        ),
        (
            (kinds.CHILD, 5, 0, "ship", wire.dump({"id": "c-1"}), values()),
            {"event": "Child", "seq": 5, "name": "ship", "child_id": "c-1", "values": []},
        ),
        (
            (kinds.CHILD_STARTED, 5, 0, "", RUN_ID, b""),
            {"event": "ChildStarted", "seq": 5, "run_id": RUN_TEXT},
        ),
        (
            (kinds.SIGNAL_EXTERNAL, 6, 0, "go", wire.dump({"ns": "d", "wid": "w-2"}), values(1)),
            {"event": "SignalExternal", "seq": 6, "name": "go", "to": "w-2", "values": [1]},
        ),
        (
            (kinds.ENRICH, 0, 0, "", b"", b'{"a":1}'),
            {"event": "Enrich", "values": {"a": 1}},
        ),
        (
            (kinds.CONTINUE, 0, 0, "w", b"{}", RUN_ID + values(2)),
            {"event": "Continue", "name": "w", "run_id": RUN_TEXT, "values": [2]},
        ),
        ((kinds.FAIL, 0, 0, "", b"", FAILURE), {"event": "Fail", "failure": FAILURE_DOCUMENT}),
        (
            (kinds.FAIL, 0, 0, "", b"", wire.join_following(RUN_ID, FAILURE)),
            {"event": "Fail", "run_id": RUN_TEXT, "failure": FAILURE_DOCUMENT},
        ),
        (
            (kinds.TERMINATED, 0, 0, "", b"", FAILURE),
            {"event": "Terminated", "failure": FAILURE_DOCUMENT},
        ),
        (
            (kinds.CANCEL_EXTERNAL, 6, 0, "", wire.dump({"ns": "d", "wid": "w-2"}), b"no more"),
            {"event": "CancelExternal", "seq": 6, "to": "w-2", "reason": "no more"},
        ),
        (
            (kinds.UPSERT, 0, 0, "search", b"", b'{"City":["Keyword","Oslo"],"Old":null}'),
            {"event": "Upsert", "name": "search", "values": {"City": "Oslo", "Old": None}},
        ),
        (
            (kinds.UPSERT, 0, 0, "memo", b"", MEMO),
            {"event": "Upsert", "name": "memo", "values": {"note": "n", "old": None}},
        ),
        (
            (kinds.CHILD_COMPLETED, 5, 2, "", RUN_ID, values(3)),
            {"event": "ChildCompleted", "seq": 5, "run_id": RUN_TEXT, "values": [3]},
        ),
    ],
)
async def test_an_event_shows_what_it_carries(event: Any, expected: dict[str, Any]) -> None:
    assert await reader().read(event) == expected


BODIES = {
    Body.NONE: b"",
    Body.VALUES: values(1),
    Body.FAILURE: FAILURE,
    Body.OUTCOME: b"R" + values(1),
    Body.NEXT: RUN_ID + values(1),
    Body.JSON: b"{}",
    Body.TEXT: b"why",
    Body.STATE: b"{}",
    Body.DIGESTS: b"\1\2\3\4",
}
METAS = {
    Meta.RUN_ID: RUN_ID,
    Meta.OPTIONS: wire.dump({"id": "c-1"}),
    Meta.TARGET: wire.dump({"wid": "w-2"}),
}


@pytest.mark.parametrize("row", list(kinds.TABLE), ids=lambda row: kinds.NAMES[row.kind])
async def test_each_kind_is_read_as_its_row_says(row: Row) -> None:
    event = (row.kind, 1, 1, "n", METAS.get(row.meta, b""), BODIES[row.body])
    found = await reader().read(event)
    assert "unreadable" not in found
    if row.body not in (Body.NONE, Body.STATE, Body.DIGESTS):
        assert {"values", "failure", "reason"} & set(found)


async def test_a_damaged_body_hides_nothing_else() -> None:
    found = await reader().read((kinds.SIGNAL, 0, 0, "go", b"", b"?damaged"))
    assert found["event"] == "Signal"
    assert found["name"] == "go"
    assert "unknown form" in found["unreadable"]


def test_a_kind_of_a_newer_version_has_a_name() -> None:
    assert event_name(250) == "Unknown250"


def test_rows_say_what_came_in_and_what_was_asked_for() -> None:
    failure = {"error": "ActivityError", "message": "m", "cause": FAILURE_DOCUMENT}
    transition = {
        "number": 2,
        "time": DUE_TEXT,
        "jobs": [{"event": "ActivityFailed", "seq": 1, "failure": failure}],
        "commands": [
            {"event": "Child", "seq": 2, "name": "ship", "child_id": "c-1", "values": [1]},
            {"event": "Complete", "values": ["x" * 200]},
        ],
    }
    rows = table_rows([transition])
    assert rows[0] == (
        "2",
        "22:13:20.250",
        "→ ActivityFailed",
        "1",
        "",
        "failure=ApplicationError: CardError: refused",
    )
    assert rows[1] == ("2", "22:13:20.250", "← Child", "2", "ship", "[1] child_id=c-1")
    assert len(rows[2][-1]) == DETAILS_MAX


async def test_digests_of_arguments_are_not_shown_to_people() -> None:
    digests = await reader().read((kinds.DIGESTS, 0, 0, "", b"", b"\1\2\3\4"))
    assert digests == {"event": "Digests"}
    transition = {"number": 0, "time": DUE_TEXT, "jobs": [], "commands": [digests]}
    assert table_rows([transition]) == []
