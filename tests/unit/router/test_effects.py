"""What commands ask of the store and of this process, and the columns that it goes into."""

from __future__ import annotations

import dataclasses
from types import ModuleType
from typing import Any

import orjson
import pytest

from hotmesh.backends.protocol import (
    ConflictPolicy,
    MailItem,
    MessageKind,
    ReusePolicy,
    SendItem,
    StartItem,
    Step,
    WaitItem,
)
from hotmesh.core import Event, kinds, lane_of
from hotmesh.core.kind_table import Maker, Role
from hotmesh.engine import wire
from hotmesh.engine.activity_task import ActivityTask, TaskOrigin
from hotmesh.engine.details import RunDetails
from hotmesh.router.effects import (
    _HANDLERS,
    START_FRAME,
    CommandTranslator,
    Effects,
    Owner,
    Publication,
    cancelled_frame,
    dedupe_id,
    held_task,
    mail_data,
    start_item,
)
from hotmesh.router.state import RunState
from unit.engine.driving import OTHER_RUN, RUN_ID, START_MS, value_of, values

LANE = 7 * 64 + 3
QUEUES = {"q": 7, "others": 9}
OPTIONS = {"st": 1000}


def state_of(**header: Any) -> RunState:
    return RunState(RunDetails("n", "w", RUN_ID, "Type", "q", LANE, header, b""))


class Asked:
    """A translator, and what it was asked to do of one run's commands."""

    def __init__(self, state: RunState | None = None, *, hosted: bool = False) -> None:
        self.inflight: dict[tuple[bytes, int], None] = {}
        self.queues = dict(QUEUES)
        self.translator = CommandTranslator(
            "n", self.queues, lambda *_: OPTIONS if hosted else None, self.inflight
        )
        self.state = state or state_of()
        self.effects = Effects()

    def of(self, *commands: Event) -> list[Event]:
        return self.translator.translate(self.state, START_MS, commands, self.effects)


def child(seq: int = 2, body: bytes = b"", **document: Any) -> Event:
    full = {"id": "c", "rid": OTHER_RUN.hex(), "close": 1, "reuse": 1, **document}
    return (kinds.CHILD, seq, 0, "Child", orjson.dumps(full), body)


# Activities


def test_an_activity_that_starts_here_is_placed_and_journaled_as_it_is() -> None:
    asked = Asked(hosted=True)
    command = (kinds.ACTIVITY, 1, 0, "act", b'{"st":1000}', values(5))
    assert asked.of(command) == [command]
    (task,) = asked.effects.placed
    assert (task.run_id, task.seq, task.lane, task.name) == (RUN_ID, 1, LANE, "act")
    assert (task.body, task.options, task.attempt) == (values(5), OPTIONS, 1)
    assert (task.scheduled_ms, task.local, task.started_ms) == (START_MS, True, 0)
    assert not asked.effects


@pytest.mark.parametrize(("meta", "queue_id"), [(b'{"st":1}', 7), (b'{"st":1,"q":"others"}', 9)])
def test_an_activity_that_goes_to_a_queue_says_which_and_whose(meta: bytes, queue_id: int) -> None:
    asked = Asked()
    (command,) = asked.of((kinds.ACTIVITY, 1, 0, "act", meta, values(5)))
    assert (command[:4], command[5]) == ((kinds.ACTIVITY, 1, queue_id, "act"), values(5))
    assert orjson.loads(command[4]) == {**orjson.loads(meta), "w": ["w", "Type"]}
    assert asked.effects.task_queues == {queue_id}
    assert asked.effects.placed == []


def test_a_queue_whose_id_is_not_known_has_to_be_looked_up_first() -> None:
    asked = Asked()
    commands = [
        (kinds.ACTIVITY, 1, 0, "act", b'{"q":"new"}', b""),
        (kinds.ACTIVITY, 2, 0, "act", b'{"q":"others"}', b""),
        child(3, q="newer"),
        (kinds.CONTINUE, 0, 0, "Type", b'{"q":"newest"}', b""),
        (kinds.ENRICH, 0, 0, "", b'{"q":"no command with a queue"}', b""),
        (kinds.ACTIVITY, 4, 0, "act", b'{"id":"\\"q\\":"}', b""),
    ]
    assert asked.translator.missing_queues(commands) == ["new", "newer", "newest"]
    assert asked.translator.missing_queues([]) == []


def test_a_cancelled_activity_of_this_process_is_cancelled_here() -> None:
    asked = Asked(hosted=True)
    asked.inflight[RUN_ID, 1] = None
    asked.of((kinds.CANCEL_ACTIVITY, 1, 0, "", b"", b""))
    asked.of((kinds.ACTIVITY, 2, 0, "act", b"{}", b""), (kinds.CANCEL_ACTIVITY, 2, 0, "", b"", b""))
    assert asked.effects.cancelled == [(RUN_ID, 1), (RUN_ID, 2)]
    assert asked.effects.recalls == []


def test_a_cancelled_activity_of_the_queue_is_recalled(core: ModuleType) -> None:
    asked = Asked()
    asked.of((kinds.CANCEL_ACTIVITY, 1, 0, "", b"", b""))
    assert asked.effects.recalls == [(RUN_ID, 1, cancelled_frame(1), True)]
    assert asked.effects.cancelled == []
    event = core.decode_event(cancelled_frame(1))
    assert event[:2] == (kinds.ACTIVITY_CANCELED, 1)


def test_a_first_attempt_can_become_a_task_that_is_held(core: ModuleType) -> None:
    task = ActivityTask(
        RUN_ID, 3, LANE, "act", OPTIONS, b"body", START_MS, TaskOrigin("n", "w", "Type", "q"), True
    )
    for started_ms, attempt in ((0, 0), (5, 1)):
        task.started_ms = started_ms
        held = held_task(task, 9, 2)
        assert (held.queue_id, held.lane, held.run_id, held.seq) == (9, LANE, RUN_ID, 3)
        assert (held.attempt, held.transition) == (attempt, 2)
    event = core.decode_event(held.frame)
    assert (event[:4], event[5]) == ((kinds.ACTIVITY, 3, 9, "act"), b"body")
    assert orjson.loads(event[4]) == {**OPTIONS, "w": ["w", "Type"]}


# Children


def test_a_child_is_a_start_that_names_its_parent() -> None:
    asked = Asked()
    command = child(2, values(5))
    assert asked.of(command) == [command]
    (item,) = asked.effects.starts
    assert item == StartItem(
        "n",
        "c",
        OTHER_RUN,
        "Child",
        lane_of(7, "c"),
        ReusePolicy.ALLOW_DUPLICATE,
        ConflictPolicy.FAIL,
        0,
        -1,
        item.header,
        values(5),
        START_FRAME,
        [],
        (),
    )
    assert wire.load(item.header) == {
        "parent": {"ns": "n", "wid": "w", "rid": RUN_ID.hex(), "seq": 2, "lane": LANE},
        "root": {"wid": "w", "rid": RUN_ID.hex()},
        "reuse": 1,
    }
    assert asked.effects.start_owners == [Owner(kinds.CHILD, RUN_ID, 2)]
    assert asked.state.children[2]["id"] == "c"


def test_a_childs_options_are_kept_and_its_root_is_its_parents() -> None:
    root = {"wid": "r", "rid": OTHER_RUN.hex()}
    asked = Asked(state_of(root=root, record=OTHER_RUN.hex(), record_id="p"))
    header = {"run": 5000, "sa": {"word": [2, "x"]}}
    asked.of(child(2, q="others", reuse=3, expire=60, record=True, header=header))
    (item,) = asked.effects.starts
    found = wire.load(item.header)
    assert (item.lane, item.reuse, item.expire_s) == (lane_of(9, "c"), 3, 60)
    assert item.attributes == [("word", b'"x"')]
    assert (found["root"], found["run"], found["expire"]) == (root, 5000, 60)
    assert (found["record"], found["record_id"]) == (OTHER_RUN.hex(), "p")


def test_a_child_that_writes_its_parents_record_is_told_whose() -> None:
    asked = Asked()
    asked.of(child(2, record=True))
    found = wire.load(asked.effects.starts[0].header)
    assert (found["record"], found["record_id"]) == (RUN_ID.hex(), "w")


@pytest.mark.parametrize(("is_started", "run_id"), [(False, OTHER_RUN), (True, b"")])
def test_a_cancelled_child_is_sent_a_request(
    is_started: bool, run_id: bytes, core: ModuleType
) -> None:
    asked = Asked()
    asked.of(child(2))
    if is_started:
        asked.state.settle_children([(kinds.CHILD_STARTED, 2, 0, "", OTHER_RUN, b"")])
    asked.of((kinds.CANCEL_CHILD, 2, 1, "c", b"", b""))
    (item,) = asked.effects.sends
    assert (item.namespace, item.workflow_id, item.run_id) == ("n", "c", run_id)
    assert asked.effects.send_owners == [None]
    event = core.decode_event(item.frame)
    assert event == (kinds.CANCEL, 0, 0, "", dedupe_id(RUN_ID, 2), b"parent requested")
    assert item.kind == MessageKind.EVENT


def test_a_child_that_has_ended_is_sent_nothing() -> None:
    asked = Asked()
    asked.of(child(2))
    asked.state.settle_children([(kinds.CHILD_FAILED, 2, 3, "", OTHER_RUN, b"")])
    asked.of((kinds.CANCEL_CHILD, 2, 1, "c", b"", b""))
    assert asked.effects.sends == []


# Other workflows


@pytest.mark.parametrize("run_id", [b"", OTHER_RUN])
def test_a_signal_or_request_is_sent_under_an_id_of_its_own(
    run_id: bytes, core: ModuleType
) -> None:
    asked = Asked()
    target: dict[str, Any] = {"ns": "n", "wid": "other"}
    if run_id:
        target["rid"] = wire.run_id_text(run_id)
    meta = orjson.dumps(target)
    signal = (kinds.SIGNAL_EXTERNAL, 1, 0, "s", meta, values(5))
    request = (kinds.CANCEL_EXTERNAL, 2, 0, "", meta, b"why")
    asked.of(signal, request)
    first, second = asked.effects.sends
    assert (first.namespace, first.workflow_id, first.run_id) == ("n", "other", run_id)
    assert core.decode_event(first.frame) == (
        kinds.SIGNAL,
        0,
        0,
        "s",
        dedupe_id(RUN_ID, 1),
        values(5),
    )
    assert core.decode_event(second.frame) == (
        kinds.CANCEL,
        0,
        0,
        "",
        dedupe_id(RUN_ID, 2),
        b"why",
    )
    assert asked.effects.send_owners == [
        Owner(kinds.SIGNAL_EXTERNAL, RUN_ID, 1),
        Owner(kinds.CANCEL_EXTERNAL, RUN_ID, 2),
    ]
    again = asked.translator.external_send(asked.state, signal, 500)
    assert (again.frame, again.again_ms) == (first.frame, 500)


# Record, events, mail


def test_what_is_upserted_or_enriched_is_an_attribute() -> None:
    asked = Asked()
    memo = orjson.dumps({"a": "x", "gone": None})
    search = orjson.dumps({"word": [2, "x"], "gone": None})
    asked.of(
        (kinds.UPSERT, 0, 0, "memo", b"", memo),
        (kinds.UPSERT, 0, 0, "search", b"", search),
        (kinds.ENRICH, 0, 0, "", b"", b'{"name":{"a":1}}'),
    )
    assert asked.effects.attributes == [
        (RUN_ID, "memo:a", b'"x"'),
        (RUN_ID, "memo:gone", b"null"),
        (RUN_ID, "word", b'"x"'),
        (RUN_ID, "gone", b""),
        (RUN_ID, "name", b'{"a":1}'),
    ]


def test_a_child_that_shares_its_parents_record_enriches_that() -> None:
    asked = Asked(state_of(record=OTHER_RUN.hex()))
    asked.of((kinds.ENRICH, 0, 0, "", b"", b'{"name":1}'))
    assert asked.effects.attributes == [(OTHER_RUN, "name", b"1")]


def test_events_and_spans_wait_for_the_commit() -> None:
    asked = Asked()
    asked.of((kinds.EMIT, 0, 0, "", b"", b'{"a":1}'), (kinds.TRACE, 0, 0, "", b"", b'{"b":2}'))
    assert asked.effects.published == [
        Publication(kinds.EMIT, asked.state, b'{"a":1}', START_MS),
        Publication(kinds.TRACE, asked.state, b'{"b":2}', START_MS),
    ]
    assert not asked.effects


@pytest.mark.parametrize("size", [0, 1, 0x7F, 0x80, 0x4000])
def test_mail_completes_the_frame_of_who_waits_for_it(size: int, core: ModuleType) -> None:
    asked = Asked()
    body = b"x" * size
    asked.of((kinds.WAIT, 3, 0, "k", b"", b""), (kinds.SEND_MAIL, 0, 0, "k", b"", body))
    (wait,), (mail,) = asked.effects.waits, asked.effects.mails
    assert (wait.namespace, wait.key, wait.lane, wait.run_id) == ("n", "k", LANE, RUN_ID)
    assert (mail.namespace, mail.key, mail.data) == ("n", "k", mail_data(body))
    assert core.decode_event(wait.frame + mail.data) == (kinds.MAIL, 3, 0, "", b"", body)


def test_what_asks_for_nothing_more_is_journaled_as_it_is() -> None:
    asked = Asked()
    commands = [
        (kinds.TIMER, 1, START_MS, "", b"", b""),
        (kinds.PATCH, 0, 0, "p", b"", b""),
        (kinds.UPDATE_ACCEPTED, 0, 0, "u", b"1", b""),
        (kinds.COMPLETE, 0, 0, "", b"", values(1)),
    ]
    assert asked.of(*commands) == commands
    assert not asked.effects


# The columns

MARKED: dict[str, Any] = {
    "placed": None,
    "starts": start_item("n", "c", OTHER_RUN, "T", 1, {}, b""),
    "start_owners": Owner(kinds.CHILD, RUN_ID, 1),
    "sends": SendItem("n", "o", b"", 1, b"f", False),
    "send_owners": None,
    "waits": WaitItem("n", "k", 1, RUN_ID, b"f"),
    "mails": MailItem("n", "k", b"d"),
    "replies": (b"reply", b"data"),
    "messages": (1, OTHER_RUN, 2, b"f"),
    "attributes": (RUN_ID, "name", b"1"),
    "timers": (1, 2, RUN_ID, 3),
    "drop_timers": (4, 5, RUN_ID, 6),
    "recalls": (RUN_ID, 7, b"f", True),
    "cancelled": (RUN_ID, 8),
    "published": Publication(kinds.EMIT, state_of(), b"{}", 1),
    "closed": RUN_ID,
}
UNMARKED = {"moves": (RUN_ID, 1, 2), "ended": None, "task_queues": 3}
"""What belongs to no transition: it is never taken back."""

FILLED = {
    "starts": ("starts",),
    "sends": ("sends",),
    "waits": ("waits",),
    "mails": ("mails",),
    "replies": ("reply_id", "reply_data"),
    "messages": ("message_lane", "message_run", "message_kind", "message_frame"),
    "attributes": ("attribute_run", "attribute_name", "attribute_value"),
    "timers": ("timer_lane", "timer_due", "timer_run", "timer_key"),
    "drop_timers": ("drop_timer_lane", "drop_timer_due", "drop_timer_run", "drop_timer_key"),
    "recalls": (
        "recall_task_run",
        "recall_task_seq",
        "recall_task_frame",
        "recall_task_claimed",
    ),
    "moves": ("move_run", "move_from", "move_to"),
}
"""What goes into a step, and its columns there in order."""


def test_every_field_is_looked_at_here() -> None:
    fields = {each.name for each in dataclasses.fields(Effects)} - {"spans", "_lists"}
    assert fields == set(MARKED) | set(UNMARKED)


@pytest.mark.parametrize("name", FILLED)
def test_each_column_of_a_step_gets_what_is_meant_for_it(name: str) -> None:
    effects, step, empty = Effects(), Step(b"r"), Step(b"r")
    entry = {**MARKED, **UNMARKED}[name]
    assert not effects
    getattr(effects, name).append(entry)
    assert effects
    effects.fill(step)
    columns = FILLED[name]
    values_ = [getattr(step, column) for column in columns]
    assert values_ == ([[entry]] if len(columns) == 1 else [[part] for part in entry])
    for each in dataclasses.fields(Step):
        if each.name not in columns:
            assert getattr(step, each.name) == getattr(empty, each.name)


@pytest.mark.parametrize("name", sorted(set(MARKED) - set(FILLED)))
def test_what_this_process_does_itself_fills_no_column(name: str) -> None:
    effects = Effects()
    getattr(effects, name).append(MARKED[name])
    assert not effects
    step = Step(b"r")
    effects.fill(step)
    assert step == Step(b"r")


@pytest.mark.parametrize("name", MARKED)
def test_a_transition_that_is_not_recorded_is_taken_back_from_each_list(name: str) -> None:
    effects = Effects()
    getattr(effects, name).append("before")
    mark = effects.begin(RUN_ID)
    getattr(effects, name).append("since")
    if name == "placed":
        assert effects.placed_since(mark) == ["since"]
    effects.take_back(mark)
    assert getattr(effects, name) == ["before"]
    assert effects.spans == []


@pytest.mark.parametrize("name", sorted(set(MARKED) & set(FILLED)))
def test_each_entry_has_an_owner(name: str) -> None:
    effects = Effects()
    items = getattr(effects, name)
    items.append("nobody's")
    for run_id in (RUN_ID, OTHER_RUN):
        effects.begin(run_id)
        items += ["first", "second"]
    effects.begin(b"nothing of this one")
    owners = [effects.owner_of(name, at) for at in range(5)]
    assert owners == [b"", RUN_ID, RUN_ID, OTHER_RUN, OTHER_RUN]


def test_a_start_says_when_it_expires_in_its_header_too() -> None:
    item = start_item("n", "w", RUN_ID, "T", 1, {"run": 5}, values(1), expire=60, delay_ms=9)
    assert wire.load(item.header) == {"run": 5, "expire": 60}
    assert (item.expire_s, item.delay_ms, value_of(item.input)) == (60, 9, 1)
    assert wire.load(start_item("n", "w", RUN_ID, "T", 1, {}, b"").header) == {}


def test_each_command_of_the_code_is_carried_out_by_somebody() -> None:
    by_the_core = {kinds.TIMER, kinds.CANCEL_TIMER, kinds.DEADLINE}
    by_the_journal = {kinds.PATCH, kinds.UPDATE_ACCEPTED, kinds.UPDATE_COMPLETED}
    by_the_journal |= {kinds.PAUSED, kinds.RESUMED}
    asked = {
        row.kind for row in kinds.TABLE if row.role is Role.COMMAND and row.maker is Maker.CODE
    }
    assert {*_HANDLERS, kinds.ACTIVITY} == asked - by_the_core - by_the_journal
