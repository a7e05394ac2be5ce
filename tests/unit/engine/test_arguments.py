"""What counts as the arguments of a command, and their digests."""

import orjson
import pytest

from hotmesh.core import Event, kinds
from hotmesh.engine import wire
from hotmesh.engine.arguments import DIGEST_BYTES, ArgumentDigests, arguments_of

BODY = b'["x"]'


def command(kind: int, *, number: int = 0, meta: bytes = b"", body: bytes = BODY) -> Event:
    return (kind, 1, number, "name", meta, body)


def child(child_id: str, options: int = 0) -> Event:
    return command(kinds.CHILD, meta=orjson.dumps({"id": child_id, "close": options}))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (command(kinds.ACTIVITY, meta=b"{}"), command(kinds.ACTIVITY, number=4, meta=b'{"st":1}')),
        (
            command(kinds.ACTIVITY),
            command(kinds.ACTIVITY, body=wire.join_document({"h": {"trace": "1"}}, BODY)),
        ),
        (
            command(kinds.SIGNAL_EXTERNAL, meta=b"{}"),
            command(kinds.SIGNAL_EXTERNAL, meta=b"{}", body=wire.join_document({"h": {}}, BODY)),
        ),
        (child("a", 1), child("a", 2)),
        (
            command(kinds.CONTINUE, body=b"a" * 16 + BODY),
            command(kinds.CONTINUE, body=b"b" * 16 + BODY),
        ),
    ],
)
def test_options_headers_and_drawn_ids_are_no_arguments(one: Event, other: Event) -> None:
    assert arguments_of(one) == arguments_of(other) is not None


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (command(kinds.ACTIVITY), command(kinds.ACTIVITY, body=b'["y"]')),
        (command(kinds.TIMER, number=1), command(kinds.TIMER, number=2)),
        (child("a"), child("b")),
        (command(kinds.SIGNAL_EXTERNAL, meta=b"1"), command(kinds.SIGNAL_EXTERNAL, meta=b"2")),
        (command(kinds.CANCEL_EXTERNAL, meta=b"1"), command(kinds.CANCEL_EXTERNAL, meta=b"2")),
        (command(kinds.SEND_MAIL), command(kinds.SEND_MAIL, body=b"other")),
        (command(kinds.ENRICH), command(kinds.ENRICH, body=b"other")),
    ],
)
def test_what_is_asked_for_tells_commands_apart(one: Event, other: Event) -> None:
    assert arguments_of(one) != arguments_of(other)


def test_outcomes_are_not_compared() -> None:
    for kind in (kinds.COMPLETE, kinds.FAIL, kinds.UPDATE_COMPLETED, kinds.PATCH, kinds.DEADLINE):
        assert arguments_of(command(kind)) is None


def test_digests_are_short_the_runs_own_and_hide_what_the_input_hides() -> None:
    digests = ArgumentDigests(b"run", b"input")
    found = digests.of(b"arguments")
    assert len(found) == DIGEST_BYTES
    assert found == ArgumentDigests(b"run", b"input").of(b"arguments")
    others = (ArgumentDigests(b"nur", b"input"), ArgumentDigests(b"run", b"secret"))
    assert found not in [other.of(b"arguments") for other in others]
    assert digests.command([command(kinds.PATCH), command(kinds.COMPLETE)]) is None
    recorded = digests.command([command(kinds.ACTIVITY), command(kinds.TIMER, number=3)])
    assert recorded == (kinds.DIGESTS, 0, 0, "", b"", digests.of(BODY) + digests.of(b"3"))
