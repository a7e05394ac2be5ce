"""What follows the end of a run: its parent hears, its children are told, its chain goes on."""

from __future__ import annotations

from datetime import timedelta
from types import ModuleType
from typing import Any

import orjson
import pytest

from hotmesh.backends.protocol import MessageKind, ReusePolicy, RunStatus, StartItem
from hotmesh.common import RetryPolicy
from hotmesh.converter import DataConverter, decode_failure
from hotmesh.core import Event, kinds, lane_of
from hotmesh.engine import wire
from hotmesh.engine.details import RunDetails
from hotmesh.engine.options import retry_document
from hotmesh.exceptions import (
    ApplicationError,
    CancelledError,
    TerminatedError,
    TimeoutError,  # noqa: A004 - the failure, not the builtin
)
from hotmesh.router.closing import (
    EXECUTION_TIMEOUT_KEY,
    RUN_TIMEOUT_KEY,
    Closer,
    run_deadlines,
    terminated,
    timed_out,
)
from hotmesh.router.effects import Effects
from hotmesh.router.state import RunState
from unit.engine.driving import CONVERTER, OTHER_RUN, RUN_ID, START_MS, failure, values

LANE = 7 * 64 + 3
QUEUES = {"q": 7, "others": 9}
DONE: Event = (kinds.COMPLETE, 0, 0, "", b"", values("result"))
POLICY = RetryPolicy(initial_interval=timedelta(seconds=2), maximum_attempts=3)
FIRST = b"f" * 16
PARENT = {"ns": "n", "wid": "p", "rid": OTHER_RUN.hex(), "seq": 4, "lane": 70}


def failing(error: BaseException | None = None) -> Event:
    return (kinds.FAIL, 0, 0, "", b"", failure(error or ApplicationError("broken")))


def state_of(run_input: bytes = values("input"), **header: Any) -> RunState:
    """A run with a header, begun some time ago."""
    details = RunDetails("n", "w", RUN_ID, "Type", "q", LANE, header, run_input)
    state = RunState(details)
    state.start_ms = START_MS
    return state


def child_document(child_id: str, policy: int) -> bytes:
    return orjson.dumps({"id": child_id, "rid": OTHER_RUN.hex(), "close": policy})


def closed(
    state: RunState, *commands: Event, at_ms: int = START_MS + 1000
) -> tuple[Effects, list[Event]]:
    """The effects of an end, and the commands to be journaled."""
    effects = Effects()
    closer = Closer(CONVERTER, QUEUES)
    return effects, closer.close(state, at_ms, list(commands), effects)


def next_run(effects: Effects) -> tuple[StartItem, dict[str, Any]]:
    """The start of the next run in the chain, and its header."""
    (item,) = effects.starts
    assert effects.start_owners == [None]
    return item, wire.load(item.header)


def retry(**changes: Any) -> dict[str, Any]:
    document = retry_document(RetryPolicy(**{**vars(POLICY), **changes}), "it")
    assert document is not None
    return document


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        (kinds.COMPLETE, RunStatus.COMPLETED),
        (kinds.FAIL, RunStatus.FAILED),
        (kinds.CANCELED, RunStatus.CANCELED),
        (kinds.TERMINATED, RunStatus.TERMINATED),
        (kinds.TIMED_OUT, RunStatus.TIMED_OUT),
    ],
)
def test_a_run_without_anything_just_ends(kind: int, status: RunStatus) -> None:
    state = state_of()
    command = (kind, 0, 0, "", b"", failure(ApplicationError("x")))
    earlier = (kinds.ENRICH, 0, 0, "", b"", b"{}")
    effects, journaled = closed(state, earlier, command)
    assert (state.closed, state.status) == (True, status)
    assert effects.closed == [RUN_ID]
    assert journaled == [earlier, command]
    assert not effects


# The parent


@pytest.mark.parametrize(
    ("command", "kind"),
    [
        (DONE, kinds.CHILD_COMPLETED),
        (failing(), kinds.CHILD_FAILED),
        ((kinds.CANCELED, 0, 0, "", b"", failure(CancelledError("x"))), kinds.CHILD_FAILED),
        ((kinds.TERMINATED, 0, 0, "", b"", failure(TerminatedError("x"))), kinds.CHILD_FAILED),
    ],
)
def test_the_parent_is_told_how_its_child_ended(
    command: Event, kind: int, core: ModuleType
) -> None:
    state = state_of(parent=PARENT)
    effects, _ = closed(state, command)
    ((lane, run_id, message_kind, frame),) = effects.messages
    assert (lane, run_id, message_kind) == (70, OTHER_RUN, MessageKind.RESULT)
    assert core.decode_event(frame) == (kind, 4, state.status, "", RUN_ID, command[5])


def test_a_parent_that_does_not_wait_is_not_told() -> None:
    waits_for_nothing = {key: value for key, value in PARENT.items() if key != "seq"}
    effects, _ = closed(state_of(parent=waits_for_nothing), DONE)
    assert effects.messages == []


@pytest.mark.parametrize("header", [{}, {"retry": retry()}])
def test_a_parent_hears_of_the_end_of_the_chain_only(header: dict[str, Any]) -> None:
    command = failing() if header else (kinds.CONTINUE, 0, 0, "Type", b"{}", OTHER_RUN + values())
    effects, _ = closed(state_of(parent=PARENT, **header), command)
    assert effects.messages == []
    assert next_run(effects)[1]["parent"] == PARENT


# Children


@pytest.mark.parametrize("is_started", [True, False])
@pytest.mark.parametrize(
    ("policy", "kind", "message_kind"),
    [
        (0, kinds.TERMINATE, MessageKind.END),
        (1, kinds.TERMINATE, MessageKind.END),
        (3, kinds.CANCEL, MessageKind.EVENT),
    ],
)
def test_open_children_are_told_what_their_policy_says(
    policy: int, kind: int, message_kind: int, is_started: bool, core: ModuleType
) -> None:
    state = state_of()
    state.add_child((kinds.CHILD, 2, 0, "C", child_document("c", policy), b""))
    if is_started:
        state.settle_children([(kinds.CHILD_STARTED, 2, 0, "", OTHER_RUN, b"")])
    effects, _ = closed(state, DONE)
    (item,) = effects.sends
    assert effects.send_owners == [None]
    assert (item.namespace, item.workflow_id, item.kind) == ("n", "c", message_kind)
    assert item.run_id == (b"" if is_started else OTHER_RUN)  # until then it may be a stranger's
    event = core.decode_event(item.frame)
    assert (event[0], event[4]) == (kind, RUN_ID + (2).to_bytes(4, "big"))
    if kind == kinds.CANCEL:
        assert event[5] == b"parent closed"
    else:
        assert wire.split_document(event[5]) == ({"reason": "by parent close policy"}, b"")
    assert state.children == {}


def test_abandoned_children_and_those_that_have_ended_are_told_nothing() -> None:
    state = state_of()
    state.add_child((kinds.CHILD, 2, 0, "C", child_document("c", 2), b""))
    state.add_child((kinds.CHILD, 3, 0, "C", child_document("d", 1), b""))
    state.settle_children([(kinds.CHILD_FAILED, 3, 3, "", b"", b"")])
    effects, _ = closed(state, DONE)
    assert effects.sends == []


def test_children_are_dealt_with_when_a_run_continues_as_new_too() -> None:
    state = state_of()
    state.add_child((kinds.CHILD, 2, 0, "C", child_document("c", 1), b""))
    effects, _ = closed(state, (kinds.CONTINUE, 0, 0, "Type", b"{}", OTHER_RUN + values()))
    assert len(effects.sends) == 1


# Timeouts


def test_timeouts_of_a_run_are_timers_from_its_start() -> None:
    state, effects = state_of(run=5000, exec=9000), Effects()
    Closer(CONVERTER, QUEUES).first_timers(state, START_MS, effects)
    assert effects.timers == [
        (LANE, START_MS + 5000, RUN_ID, RUN_TIMEOUT_KEY),
        (LANE, START_MS + 9000, RUN_ID, EXECUTION_TIMEOUT_KEY),
    ]
    assert run_deadlines(state_of(), START_MS) == []


def test_a_later_run_of_a_chain_has_what_is_left_of_its_time() -> None:
    state = state_of(exec=9000, exec_due=START_MS + 100)
    assert run_deadlines(state, START_MS) == [(EXECUTION_TIMEOUT_KEY, START_MS + 100)]


@pytest.mark.parametrize("command", [DONE, failing()])
def test_an_end_drops_the_timeouts(command: Event) -> None:
    effects, _ = closed(state_of(run=5000, exec=9000), command)
    assert effects.drop_timers == [
        (LANE, START_MS + 5000, RUN_ID, RUN_TIMEOUT_KEY),
        (LANE, START_MS + 9000, RUN_ID, EXECUTION_TIMEOUT_KEY),
    ]


# Retries


def test_a_failed_run_is_tried_again_with_its_input_and_what_it_was_given() -> None:
    carried = {
        "parent": PARENT,
        "root": {"wid": "r", "rid": OTHER_RUN.hex()},
        "run": 5000,
        "task": 1000,
        "retry": retry(),
        "memo": {"m": "x"},
        "sa": {"word": [2, "a"]},
        "h": {"trace": []},
        "expire": 60,
        "identity": "me",
        "record": OTHER_RUN.hex(),
        "record_id": "p",
    }
    state = state_of(**carried, reuse=1, summary="not carried", continued="x")
    command = failing()
    effects, journaled = closed(state, command)
    item, header = next_run(effects)
    assert (item.namespace, item.workflow_id, item.workflow_type) == ("n", "w", "Type")
    assert item.lane == lane_of(7, "w")
    assert (item.input, item.delay_ms, item.expire_s) == (values("input"), 2000, 60)
    assert item.reuse == ReusePolicy.ALLOW_DUPLICATE
    assert item.attributes == [("word", b'"a"')]
    assert header == {
        **carried,
        "first": RUN_ID.hex(),
        "attempt": 2,
        "continued": RUN_ID.hex(),
        "last_failure": wire.pack_bytes(command[5]),
    }
    assert journaled == [(*command[:5], wire.join_following(item.run_id, command[5]))]
    assert item.run_id != RUN_ID


def test_a_chain_remembers_its_first_run_and_counts() -> None:
    state = state_of(retry=retry(), first=FIRST.hex(), attempt=2)
    item, header = next_run(closed(state, failing())[0])
    assert (header["first"], header["attempt"]) == (FIRST.hex(), 3)
    assert item.delay_ms == 4000


def test_a_run_that_timed_out_is_tried_again() -> None:
    _, header = next_run(closed(state_of(retry=retry()), timed_out(CONVERTER))[0])
    assert header["attempt"] == 2


BAD = failing(ApplicationError("x", type="Bad"))


@pytest.mark.parametrize(
    ("command", "header"),
    [
        (DONE, {"retry": retry()}),
        ((kinds.CANCELED, 0, 0, "", b"", failure(CancelledError("x"))), {"retry": retry()}),
        ((kinds.TERMINATED, 0, 0, "", b"", failure(TerminatedError("x"))), {"retry": retry()}),
        (failing(), {"run": 5000}),
        (failing(), {"retry": retry(), "attempt": 3}),
        (failing(), {"retry": retry(non_retryable_error_types=["Bad", "ApplicationError", ""])}),
        (failing(ApplicationError("x", non_retryable=True)), {"retry": retry()}),
        (
            failing(ApplicationError("x", type="Bad")),
            {"retry": retry(non_retryable_error_types=["Bad"])},
        ),
        (failing(CancelledError("x")), {"retry": retry()}),
        (failing(), {"retry": retry(), "exec": 3000}),
        (failing(), {"retry": retry(), "exec": 10, "exec_due": START_MS + 3000}),
    ],
)
def test_what_ends_the_chain(command: Event, header: dict[str, Any]) -> None:
    effects, journaled = closed(state_of(**header), command)
    assert effects.starts == []
    assert journaled == [command]


def test_attempts_without_a_bound_go_on() -> None:
    effects, _ = closed(state_of(retry=retry(maximum_attempts=0), attempt=50), failing())
    assert next_run(effects)[1]["attempt"] == 51


def test_the_whole_chain_has_one_deadline() -> None:
    state = state_of(retry=retry(), exec=3001)
    _, header = next_run(closed(state, failing())[0])
    assert header["exec_due"] == START_MS + 3001
    later = state_of(retry=retry(), exec=3001, exec_due=START_MS + 9000)
    assert next_run(closed(later, failing())[0])[1]["exec_due"] == START_MS + 9000


def test_a_pause_that_the_failure_asks_for_is_kept() -> None:
    error = ApplicationError("x", next_retry_delay=timedelta(minutes=5))
    item, _ = next_run(closed(state_of(retry=retry()), failing(error))[0])
    assert item.delay_ms == 300_000


def test_what_a_codec_has_sealed_is_judged_as_it_was() -> None:
    state = state_of(retry=retry())
    state.failure = failure(ApplicationError("x", non_retryable=True))
    effects, _ = closed(state, (kinds.FAIL, 0, 0, "", b"", b"sealed"))
    assert effects.starts == []


# Continue as new


def test_a_run_that_continues_as_new_starts_the_next_with_what_it_asked_for() -> None:
    asked = {"q": "others", "delay": 1500, "run": 700, "memo": {"new": "y"}}
    command = (kinds.CONTINUE, 0, 0, "Other", orjson.dumps(asked), OTHER_RUN + values(2))
    state = state_of(
        retry=retry(), exec=9000, run=5000, memo={"old": "x"}, attempt=2, last_failure="x"
    )
    effects, journaled = closed(state, command)
    item, header = next_run(effects)
    assert (item.run_id, item.workflow_type, item.input) == (OTHER_RUN, "Other", values(2))
    assert (item.lane, item.delay_ms) == (lane_of(9, "w"), 1500)
    assert header == {
        "retry": retry(),
        "exec": 9000,
        "exec_due": START_MS + 9000,
        "run": 700,
        "memo": {"new": "y"},
        "first": RUN_ID.hex(),
        "continued": RUN_ID.hex(),
    }
    assert journaled == [command]
    assert state.status == RunStatus.CONTINUED_AS_NEW
    assert len(effects.drop_timers) == 2


def test_by_default_it_goes_on_in_its_own_queue_at_once() -> None:
    command = (kinds.CONTINUE, 0, 0, "Type", b"{}", OTHER_RUN + values())
    item, header = next_run(closed(state_of(), command)[0])
    assert (item.lane, item.delay_ms, item.expire_s) == (lane_of(7, "w"), 0, -1)
    assert header == {"first": RUN_ID.hex(), "continued": RUN_ID.hex()}


# Ends from outside


def test_the_failure_of_a_run_whose_time_is_up_says_so() -> None:
    kind, *_, body = timed_out(CONVERTER)
    error = decode_failure(CONVERTER, body)
    assert kind == kinds.TIMED_OUT
    assert isinstance(error, TimeoutError)


@pytest.mark.parametrize(("document", "text"), [({"reason": "enough"}, "enough"), ({}, "Workflow")])
def test_the_failure_of_a_terminated_run_says_why(document: dict[str, Any], text: str) -> None:
    kind, *_, body = terminated(DataConverter.default, document, [1, "x"])
    error = decode_failure(CONVERTER, body)
    assert kind == kinds.TERMINATED
    assert isinstance(error, TerminatedError)
    assert error.message.startswith(text)
    assert list(error.details) == [1, "x"]
