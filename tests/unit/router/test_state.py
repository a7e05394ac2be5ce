"""What a pipe remembers of a run: read from its row, grown with its journal, let go of in time."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import orjson
import pytest

from hotmesh import workflow
from hotmesh.core import Event, kinds
from hotmesh.core.journal import Journal, outline_of
from hotmesh.engine.details import RunDetails
from hotmesh.router.state import RunState
from unit.engine.driving import RUN_ID, START_MS, Driven, completed

ACTIVITY: Event = (kinds.ACTIVITY, 1, 0, "act", b"{}", b"body")
REDISPATCH: Event = (kinds.REDISPATCH, 1, 7, "act", b"frame", b"")


def child(seq: int) -> Event:
    return (kinds.CHILD, seq, 0, "C", orjson.dumps({"id": f"c{seq}", "close": 1}), b"")


def stored(**changes: Any) -> RunState:
    """A run as a store gives it."""
    given: dict[str, Any] = {
        "workflow_id": "w",
        "workflow_type": "T",
        "header": b'{"run":5}',
        "body": b"input",
        "attributes": b"{}",
        **changes,
    }
    return RunState.of("n", "q", RUN_ID, 70, **given)


def plain(run_input: bytes = b"input", **header: Any) -> RunState:
    return RunState(RunDetails("n", "w", RUN_ID, "T", "q", 70, header, run_input))


def test_a_run_is_what_its_row_says() -> None:
    state = stored()
    assert state.damage is None
    details = state.details
    assert (details.namespace, details.task_queue, details.run_id) == ("n", "q", RUN_ID)
    assert (details.workflow_id, state.workflow_type, state.lane) == ("w", "T", 70)
    assert (details.header, details.input, state.bytes) == ({"run": 5}, b"input", 5)
    assert (state.status, state.closed) == (1, False)


def test_a_start_without_a_header_has_none() -> None:
    state = stored(header=b"", attributes=b"")
    assert (state.damage, state.details.header) == (None, {})


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"header": b"{"}, "header"),
        ({"header": b"[1]"}, "no document"),
        ({"workflow_id": None}, "no workflow id or no type"),
        ({"workflow_type": ""}, "no workflow id or no type"),
        ({"body": None}, "input"),
        ({"attributes": b'{"hotmesh.damaged":1}'}, "a value is no JSON"),
    ],
)
def test_what_can_not_be_read_is_its_damage(changes: dict[str, Any], text: str) -> None:
    damage = stored(**changes).damage
    assert damage is not None
    assert text in str(damage)
    assert "01020304-0506-0708" in str(damage)


def test_a_run_of_which_nothing_is_known_has_no_missing_input() -> None:
    state = stored(workflow_id=None, workflow_type=None, header=None, body=None, attributes=b"")
    assert "no workflow id" in str(state.damage)


def test_a_journal_that_is_read_tells_time_size_and_open_children() -> None:
    state = plain()
    ended = (kinds.CHILD_COMPLETED, 1, 2, "", b"", b"")
    journal = [
        (START_MS, [(kinds.START, 0, 0, "", b"", b"")], [child(1), child(2)]),
        (START_MS + 5, [ended], [child(3)]),
    ]
    state.remember(journal, [10, 20])
    assert (state.start_ms, state.now_ms, state.bytes) == (START_MS, START_MS + 5, 35)
    assert sorted(state.children) == [2, 3]
    assert state.children[2] == {"id": "c2", "close": 1}


@pytest.mark.parametrize(
    "kind", [kinds.CHILD_START_FAILED, kinds.CHILD_COMPLETED, kinds.CHILD_FAILED]
)
def test_a_child_is_open_until_it_has_ended(kind: int) -> None:
    state = plain()
    state.add_child(child(1))
    state.settle_children([(kinds.CHILD_STARTED, seq, 0, "", b"", b"") for seq in (1, 9)])
    assert state.children[1]["started"] is True
    state.settle_children([(kind, 1, 0, "", b"", b"")])
    assert state.children == {}
    state.settle_children([(kind, 9, 0, "", b"", b"")])


def test_a_row_that_a_router_writes_counts_where_the_run_is() -> None:
    async def code() -> None:
        await workflow.sleep(60)

    state, run = plain(), Driven(code)
    run.start()
    state.instance = run.instance
    before = run.instance.transitions
    state.journaled((START_MS, [], [REDISPATCH]), 30)
    assert (run.instance.transitions, run.instance.journal_bytes) == (before + 1, 30)
    assert (state.bytes, list(state.transitions)) == (35, [])
    state.journaled(None, 0)
    assert state.bytes == 35


def test_a_row_that_a_router_writes_is_replayed_later(core: ModuleType) -> None:
    state = plain()
    first = (START_MS, [(kinds.START, 0, 0, "", b"", b"")], [ACTIVITY])
    row = (START_MS + 5, [], [REDISPATCH])
    state.remember([first], [10])
    state.journaled(row, 20)
    assert (state.transitions, list(state.sizes)) == ([first, row], [10, 20])
    state.journaled(None, 7)  # its code knows
    assert (len(state.transitions), state.bytes) == (2, 5 + 37)
    large = plain()
    large.remember([outline_of(first)], [10])
    frames = [core.encode_transition(*first)]
    large.transitions = Journal(frames, core.decode_transition, [outline_of(first)])
    large.journaled(row, 20)
    assert list(large.transitions) == [first, row]
    assert large.transitions.outline[1] == outline_of(row)


@pytest.mark.parametrize(("header", "kept"), [({}, b""), ({"retry": {}}, b"input")])
def test_the_input_of_a_run_that_has_begun_is_let_go_of(header: Any, kept: bytes) -> None:
    async def code() -> None:
        await workflow.sleep(60)

    state = plain(**header)
    state.let_go_of_input()
    assert state.details.input == b"input"  # it has not begun
    run = Driven(code)
    run.start()
    state.instance = run.instance
    state.readable = state.details
    state.let_go_of_input()
    assert state.details.input == b"input"  # a codec's digests are keyed with it
    state.readable = None
    state.let_go_of_input()
    assert state.details.input == kept
    assert completed(1)[0] == kinds.ACTIVITY_COMPLETED
