"""Repeats of a write say how long ago the first try may have been."""

from hotmesh.backends.outgoing import REPEAT_SLACK_MS, SendItem, Tries

ITEM = SendItem("default", "order", b"", 1, b"frame", False)


def test_a_first_try_is_as_it_was_given() -> None:
    items = [ITEM]
    assert Tries(items)() is items


def test_later_tries_say_how_long_ago_the_first_one_was() -> None:
    now_s = 50.0
    tries = Tries([ITEM, ITEM._replace(again_ms=5)], lambda: now_s)
    tries()
    now_s = 50.0
    assert [item.again_ms for item in tries()] == [REPEAT_SLACK_MS, 5 + REPEAT_SLACK_MS]
    now_s = 57.5
    assert [item.again_ms for item in tries()] == [
        7500 + REPEAT_SLACK_MS,
        7505 + REPEAT_SLACK_MS,
    ]
    assert tries()[0]._replace(again_ms=0) == ITEM
