"""What goes into scripts and comes out of them, without a server."""

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
