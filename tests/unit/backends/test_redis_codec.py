"""What goes into scripts and comes out of them, without a server."""

from dataclasses import fields
from typing import Any

import orjson
import pytest
from redis.crc import key_slot

from hotmesh.backends.protocol import MessageKind, Step, TimerRow
from hotmesh.backends.redis import codec
from hotmesh.backends.redis.names import namespace_key

RUN = bytes(range(16))


@pytest.mark.parametrize("kind", list(MessageKind))
def test_a_message_id_is_its_number_and_its_kind(kind: MessageKind) -> None:
    (row,) = codec.message_rows(
        [64, b"1700-%d" % kind, RUN, b"frame"], [[b"w", b"t", b"h", b"i", 0]]
    )
    assert codec.stream_id(row.id) == f"1700-{int(kind)}"
    assert codec.message_number(row.id) == 1700


def test_ids_grow_with_numbers_whatever_the_kind() -> None:
    flat = [64, b"9-2", RUN, b"", 64, b"10-1", RUN, b""]
    first, second = codec.message_rows(flat, [])
    assert first.id < second.id


def test_acknowledged_events_are_named_once_more() -> None:
    event = 5 * 8 + MessageKind.EVENT
    result = 6 * 8 + MessageKind.RESULT
    step = Step(b"r", ack_lane=[64, 64], ack_id=[event, result])
    numbers = orjson.loads(codec.step_words(step, {})[0])
    assert numbers["acks"] == {"64": ["5-1", "6-2"]}
    assert numbers["event_acks"] == [[64, "5-1"]]


PLAIN = {
    *("router_id", "lanes", "room", "size_max", "latest_ms"),
    *("journal_run", "journal_seq", "journal_frame", "ack_lane", "ack_id"),
    *("timer_lane", "timer_due", "timer_run", "timer_key"),
    *("drop_timer_lane", "drop_timer_due", "drop_timer_run", "drop_timer_key"),
    *("close_run", "close_lane", "close_status", "close_result", "close_waits"),
}
"""Of a step; whatever else one has needs the whole script."""


COLUMNS = [each.name for each in fields(Step) if each.name.endswith(("run", "s", "id"))]


@pytest.mark.parametrize("column", COLUMNS)
def test_a_step_is_plain_if_it_has_nothing_else(column: str) -> None:
    value: Any = b"r" if column == "router_id" else [False]
    step = Step(**{"router_id": b"r", column: value})
    assert codec.is_plain(step) == (column in PLAIN)


def test_large_messages_and_waits_are_not_plain() -> None:
    assert not codec.is_plain(Step(b"r", close_waits=[False, True]))
    assert not codec.is_plain(Step(b"r", ack_lane=[64], ack_id=[5 * 8 + 4]))


def test_of_everything_that_a_step_may_have_a_column_was_tried() -> None:
    groups = {each.name.partition("_")[0] for each in fields(Step)}
    assert groups - {name.partition("_")[0] for name in COLUMNS} == {"room", "size"}


def test_the_words_of_a_plain_step_are_those_of_any() -> None:
    step = Step(
        b"r",
        journal_run=[RUN],
        journal_seq=[0],
        journal_frame=[b"f"],
        ack_lane=[64],
        ack_id=[9],
        timer_lane=[64],
        timer_due=[1],
        timer_run=[RUN],
        timer_key=[2],
        close_run=[RUN],
        close_lane=[64],
        close_status=[2],
        close_result=[b"o"],
        close_waits=[False],
    )
    (numbers, *plain), (every, *words) = codec.plain_words(step, {}), codec.step_words(step, {})
    assert plain == words
    assert orjson.loads(numbers).items() <= orjson.loads(every).items()


def test_timers_keep_all_digits() -> None:
    due, key = 2**53 + 1, 2**62 + 1
    step = Step(b"r", timer_lane=[64], timer_due=[due], timer_run=[RUN], timer_key=[key])
    numbers = orjson.loads(codec.step_words(step, {})[0])
    member = RUN + f"{numbers['timer_due'][0]}:{numbers['timer_key'][0]}".encode()
    assert codec.timer_rows(64, [member]) == [TimerRow(64, due, RUN, key)]


def test_a_run_id_may_hold_any_byte() -> None:
    run_id = b":" * 16
    assert codec.timer_rows(1, [run_id + b"5:0"]) == [TimerRow(1, 5, run_id, 0)]


def test_attributes_are_one_json_object_in_order_of_names() -> None:
    flat = [b"s", b"1", b"w", b"x", b"t", b"y", b"l", b"64", b"h", b"", b"i", b"", b"b", b"1"]
    flat += [b"a:z", b"1", b'a:"q"', b'["v"]']
    row = codec.run_row("default", "q", RUN, flat, 0)
    assert row.attributes == b'{"\\"q\\"":["v"],"z":1}'


@pytest.mark.parametrize("namespace", ["default", "a}b{c", "", "}", "ü/ß", "x:y"])
def test_all_keys_of_a_namespace_share_a_slot(namespace: str) -> None:
    key = namespace_key("hotmesh", namespace)
    assert key_slot(key) == key_slot(key + b"run:" + RUN) == key_slot(key + b"lane:{64}")


def test_namespaces_can_not_imitate_each_others_keys() -> None:
    assert not namespace_key("p", "a}:run:x").startswith(namespace_key("p", "a"))
