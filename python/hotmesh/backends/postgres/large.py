"""Large values on their way to and from Postgres, a piece at a time.

The driver copies what it sends two or three times, and what it receives as often. So a large value
goes into a table of its own first, in pieces, and whatever statement it is meant for puts it
together from there; and one that is read is asked for in pieces.
"""

from __future__ import annotations

import io
import os
import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, cast

from hotmesh.core.rope import Bytes, Rope
from hotmesh.exceptions import BackendError, BackendUnavailableError

if TYPE_CHECKING:
    import asyncpg

    from hotmesh.backends.postgres.link import Link, LinkPool

LARGE_BYTES = 4 * 1024 * 1024
"""Bytes from which on a value goes in pieces; `read_messages` and `load` have the same number."""

PIECE_BYTES = 2 * 1024 * 1024
"""The most that a piece has."""

_PARAMETER = re.compile(r"\$(\d+)\b")


def any_large(*columns: Sequence[Any] | None) -> bool:
    """Whether one of these values goes in pieces."""
    return any(max(map(len, column)) >= LARGE_BYTES for column in columns if column)


async def row_with_large(link: Link | LinkPool, name: str, *arguments: object) -> asyncpg.Record:
    """Run a statement with large values among its arguments; its one row.

    Args:
        link: Where.
        name: The statement.
        arguments: Of its parameters. Large values are looked for in lists.

    Raises:
        BackendUnavailableError: The connection broke, or what was sent ahead was lost (a crash of
            the server, a failover). Pieces that are left are deleted some day.
        BackendError: Postgres refused it; nothing was applied.
    """
    call, given = os.urandom(16), list(arguments)
    large: list[tuple[int, int, int]] = []  # place, item and size of each
    for place, argument in enumerate(arguments, 1):
        if not isinstance(argument, (list, tuple)):
            continue
        items = cast("Sequence[Any]", argument)
        at = [index for index, each in enumerate(items) if _is_large(each)]
        if not at:
            continue
        for index in at:
            large.append((place, index + 1, len(items[index])))
            await _send(link, (call, place, index + 1), items[index])
        given[place - 1] = [None if index in at else each for index, each in enumerate(items)]
    whole = link.statements["whole"]
    after = len(arguments) + 1
    columns = [list(column) for column in zip(*large, strict=True)] or [[], [], []]
    places = set(columns[0])

    def parameter(found: re.Match[str]) -> str:
        number = int(found[1])
        if number not in places:
            return found[0]
        return whole.format(
            argument=number, call=after, places=after + 1, numbers=after + 2, sizes=after + 3
        )

    sql = _PARAMETER.sub(parameter, link.statements[name])
    try:
        return (await link.query(name, sql, *given, call, *columns))[0]
    except BackendUnavailableError:
        raise
    except BackendError:
        await link.fetch("drop_pieces", call)  # the call has not taken them
        raise


def _is_large(value: object) -> bool:
    return isinstance(value, (bytes, Rope)) and len(value) >= LARGE_BYTES


async def _send(link: Link | LinkPool, key: tuple[bytes, int, int], value: Bytes) -> None:
    for number, piece in enumerate(_pieces(value)):
        await link.fetch("put_piece", *key, number, piece)


def _pieces(value: Bytes) -> Iterator[memoryview]:
    for data in value.pieces if isinstance(value, Rope) else (value,):
        view = memoryview(data)
        for at in range(0, len(data), PIECE_BYTES):
            yield view[at : at + PIECE_BYTES]


async def receive(link: Link | LinkPool, name: str, *key: object) -> bytes | None:
    """Read a value in pieces; None if it is not there.

    Args:
        link: Where.
        name: A statement for one piece: after the key its parameters are where the piece begins,
            counted from 1, and how many bytes it has at most.
        key: Which value.
    """
    value = io.BytesIO()
    while True:
        rows = await link.fetch(name, *key, value.tell() + 1, PIECE_BYTES)
        if not rows:
            return None
        value.write(rows[0][0])
        if len(rows[0][0]) < PIECE_BYTES:
            return value.getvalue()


async def journal(link: Link | LinkPool, namespace: str, run_id: bytes) -> list[bytes]:
    """The frames of a run's journal, in order."""
    rows = await link.fetch("journal", namespace, run_id)
    frames: list[bytes] = []
    for frame, seq in rows:
        if frame is None:  # a large one; if it is gone by now, so is the run
            frame = await receive(link, "frame_piece", run_id, seq)
        if frame is not None:
            frames.append(frame)
    return frames
