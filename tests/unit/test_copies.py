"""How often a large value is copied on its way, in memory that Python sees."""

import tracemalloc
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest

from hotmesh.converter import DataConverter, decode_values, encode_values
from hotmesh.core import kinds
from hotmesh.core._python.codec import encode_event, join_transition
from hotmesh.engine.details import RunDetails
from hotmesh.router.state import RunState

SIZE = 8 * 1024 * 1024
TEXT = "x" * SIZE
BODY = encode_values(DataConverter.default, [TEXT], "test")
FRAME = encode_event((kinds.SIGNAL, 0, 0, "s", b"", BODY))


def sizes_needed(work: Callable[[], object]) -> float:
    """The peak of some work, in sizes of the value; one of them is what it returns."""
    work()
    tracemalloc.start()
    try:
        kept = work()
        _, peak = tracemalloc.get_traced_memory()
        del kept
        return peak / SIZE
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "work",
    [
        lambda: decode_values(DataConverter.default, BODY, [str], "test"),
        lambda: encode_event((kinds.SIGNAL, 0, 0, "s", b"", BODY)),
        lambda: join_transition(1, [FRAME], []),
    ],
    ids=["decode", "event", "transition"],
)
def test_a_large_value_is_copied_once(work: Callable[[], object]) -> None:
    assert sizes_needed(work) < 1.5


def test_a_large_text_stays_where_it_was_written() -> None:
    """What the buffer has beyond it is never written to, and so takes no memory."""
    tracemalloc.start()
    try:
        body = encode_values(DataConverter.default, [TEXT], "test")
        held, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert body == BODY
    assert peak - held < SIZE / 2


def state(header: dict[str, Any]) -> RunState:
    found = RunState(RunDetails("n", "w", b"r" * 16, "T", "q", 64, header, BODY))
    found.instance = cast("Any", SimpleNamespace(journal_bytes=0, held_up=False))
    return found


def test_a_run_lets_go_of_the_input_that_its_code_was_given() -> None:
    plain, retried, fresh, hidden = state({}), state({"retry": {}}), state({}), state({})
    fresh.instance = None
    hidden.readable = hidden.details
    for each in (plain, retried, fresh, hidden):
        each.let_go_of_input()
    assert plain.details.input == b""
    assert [each.details.input for each in (retried, fresh, hidden)] == [BODY] * 3
    assert plain.bytes == len(BODY)  # its code holds as much
