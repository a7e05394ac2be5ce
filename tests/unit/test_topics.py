"""Topics and patterns."""

import pytest

from hotmesh.exceptions import InvalidArgumentError, PayloadTooLargeError
from hotmesh.limits import EVENT_BYTES_MAX
from hotmesh.topics import check_event, checked_pattern, checked_topic, matches


@pytest.mark.parametrize(
    ("pattern", "topic", "expected"),
    [
        ("a", "a", True),
        ("a", "b", False),
        ("a", "a.b", False),
        ("a.b", "a", False),
        ("*", "a", True),
        ("*", "a.b", False),
        ("a.*", "a.b", True),
        ("a.*", "a", False),
        ("a.*", "a.b.c", False),
        ("*.b", "a.b", True),
        ("*.b", "a.c", False),
        ("a.*.c", "a.x.c", True),
        (">", "a", True),
        (">", "a.b.c", True),
        ("a.>", "a.b", True),
        ("a.>", "a.b.c", True),
        ("a.>", "a", False),
        ("*.b.>", "a.b.c.d", True),
        ("*.b.>", "a.c.c.d", False),
        ("my.dog", "my.dog.cat", False),
        ("/tmp/x.é", "/tmp/x.é", True),
    ],
)
def test_matching(pattern: str, topic: str, expected: bool) -> None:
    assert matches(checked_pattern(pattern), checked_topic(topic)) is expected


@pytest.mark.parametrize(
    "topic", ["", ".", "a.", ".a", "a..b", "a b", "a\tb", "a\0", "*", "a.>", "a*", "x" * 1001]
)
def test_bad_topics_are_refused(topic: str) -> None:
    with pytest.raises(InvalidArgumentError):
        checked_topic(topic)


@pytest.mark.parametrize(
    "pattern", ["", "a.", "a..b", "a b", "a*", "*a", ">.a", "a.>.b", "a>", "**", "x" * 1001]
)
def test_bad_patterns_are_refused(pattern: str) -> None:
    with pytest.raises(InvalidArgumentError):
        checked_pattern(pattern)


def test_an_event_has_a_largest_size() -> None:
    topic = 'quoted"'
    room = EVENT_BYTES_MAX - len(topic) - 3
    check_event(topic, b"1" * room)
    with pytest.raises(PayloadTooLargeError, match="event on topic"):
        check_event(topic, b"1" * (room + 1))
    with pytest.raises(InvalidArgumentError):
        check_event("no space", b"1")
