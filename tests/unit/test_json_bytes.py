"""JSON text takes no more room than it needs."""

import tracemalloc
from collections.abc import Callable

import pytest

from hotmesh import json_bytes
from hotmesh.converter import DataConverter, encode_values
from hotmesh.converter.json_text import dump_exact
from hotmesh.engine import wire

COUNT = 200
OVERHEAD_BYTES = 64
"""Of an object of bytes, and of the list that holds it."""


@pytest.mark.parametrize(
    "write",
    [
        lambda: json_bytes.dumps({"n": 1}),
        lambda: encode_values(DataConverter.default, [1], "arguments"),
        lambda: encode_values(DataConverter.default, ["x", {"n": 1}], "arguments"),
        lambda: dump_exact(["x"]),
        lambda: wire.dump({"n": 1}),
        lambda: wire.join_document({"n": 1}, b"[1]"),
    ],
)
def test_small_text_keeps_no_buffer(write: Callable[[], bytes]) -> None:
    size = len(write())
    tracemalloc.start()
    try:
        texts = [write() for _ in range(COUNT)]
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(texts) == COUNT
    assert held / COUNT < size + OVERHEAD_BYTES


def test_text_on_both_sides_of_the_limit_is_whole() -> None:
    for size in (0, 1, json_bytes.COPIED_BYTES - 2, json_bytes.COPIED_BYTES):
        assert json_bytes.dumps("x" * size) == b'"' + b"x" * size + b'"'
