"""The payload codec around workflow code: what is stored is encoded, what the code sees is not.

A codec may do I/O, workflow code may not. So a router decodes what a run is about to see before
its activation, and encodes what the run has issued after it; the journal, tasks, messages and
replies hold only encoded values. Routers without a codec never come here.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import orjson

from hotmesh.converter import PayloadCodec, apply_codec, apply_codec_to_failure
from hotmesh.core import Event, kinds
from hotmesh.engine import wire
from hotmesh.engine.arguments import ArgumentDigests
from hotmesh.engine.instance import RunDetails
from hotmesh.router.state import RunState

_RUN_ID_BYTES = 16

_VALUES = frozenset(
    (
        kinds.SIGNAL,
        kinds.UPDATE,
        kinds.QUERY,
        kinds.TERMINATE,
        kinds.ACTIVITY_COMPLETED,
        kinds.CHILD_COMPLETED,
        kinds.MAIL,
        kinds.ACTIVITY,
        kinds.CHILD,
        kinds.SIGNAL_EXTERNAL,
        kinds.SEND_MAIL,
        kinds.COMPLETE,
    )
)
"""Events whose body is values, perhaps with a document in front."""

_FAILURES = frozenset(
    (
        kinds.ACTIVITY_FAILED,
        kinds.ACTIVITY_CANCELED,
        kinds.ACTIVITY_TIMED_OUT,
        kinds.CHILD_FAILED,
        kinds.FAIL,
        kinds.CANCELED,
        kinds.TERMINATED,
        kinds.TIMED_OUT,
    )
)
"""Events whose body is a failure."""

_Turn = Callable[[bytes], Awaitable[bytes]]


class Coder:
    """Applies a codec to whatever enters and leaves workflow code.

    Args:
        codec: The codec.
    """

    def __init__(self, codec: PayloadCodec) -> None:
        self._codec = codec

    async def open(self, state: RunState, jobs: Sequence[Event]) -> list[Event]:
        """Make a run and its new jobs readable.

        Raises:
            Exception: whatever the codec raises; the task has failed then.
        """
        if state.instance is None:
            if state.readable is None:
                state.readable = await self._details(state.details)
            state.transitions = [
                (now_ms, await self._open_all(seen), commands)
                for now_ms, seen, commands in state.transitions
            ]
        return await self._open_all(jobs)

    async def seal(self, state: RunState, commands: Sequence[Event]) -> list[Event]:
        """Make a run's commands fit to be stored.

        Raises:
            Exception: whatever the codec raises; the task has failed then.
        """
        if commands and commands[-1][0] in _FAILURES:
            state.failure = commands[-1][5]
        sealed = [await self._seal_one(command) for command in commands]
        digests = argument_digests(state).command(commands)
        return sealed if digests is None else [digests, *sealed]

    async def seal_replies(
        self, replies: Sequence[tuple[bytes, bytes]]
    ) -> list[tuple[bytes, bytes]]:
        """Make answers to queries and updates fit to be stored."""
        return [(reply_id, await self._outcome(data)) for reply_id, data in replies]

    # Within

    async def _open_all(self, jobs: Sequence[Event]) -> list[Event]:
        return [
            job if not job[5] else (*job[:5], await self._turn(job[0], job[5], encode=False))
            for job in jobs
        ]

    async def _seal_one(self, command: Event) -> Event:
        kind, seq, number, name, meta, body = command
        if kind == kinds.CONTINUE:
            run_id, values = body[:_RUN_ID_BYTES], body[_RUN_ID_BYTES:]
            meta = await self._header_memo(meta, None)
            return (kind, seq, number, name, meta, run_id + await self._values(values, True))
        if kind == kinds.CHILD:
            meta = await self._header_memo(meta, "header")
        elif kind == kinds.UPDATE_COMPLETED:
            return (kind, seq, number, name, meta, await self._outcome(body))
        elif kind == kinds.UPSERT and name == "memo":
            memo = await self._memo(orjson.loads(body), self._encoded)
            return (kind, seq, number, name, meta, orjson.dumps(memo))
        return (kind, seq, number, name, meta, await self._turn(kind, body, encode=True))

    async def _turn(self, kind: int, body: bytes, *, encode: bool) -> bytes:
        if kind in _VALUES:
            return await self._values(body, encode)
        if kind in _FAILURES and body:
            return await apply_codec_to_failure(self._codec, body, encode)
        return body

    async def _values(self, body: bytes, encode: bool) -> bytes:
        document, values = wire.split_document(body)
        return wire.join_document(document, await apply_codec(self._codec, values, encode))

    async def _outcome(self, data: bytes) -> bytes:
        """An answer: a status byte and what it announces."""
        status, rest = data[:1], data[1:]
        if status == b"R":
            return status + await apply_codec(self._codec, rest, True)
        if status in (b"F", b"X"):
            return status + await apply_codec_to_failure(self._codec, rest, True)
        return data

    async def _details(self, details: RunDetails) -> RunDetails:
        header = dict(details.header)
        if "memo" in header:
            header["memo"] = await self._memo(header["memo"], self._decoded)
        if "last_failure" in header:
            failure = wire.unpack_bytes(header["last_failure"])
            readable = await apply_codec_to_failure(self._codec, failure, False)
            header["last_failure"] = wire.pack_bytes(readable)
        body = await apply_codec(self._codec, details.input, False)
        return dataclasses.replace(details, header=header, input=body)

    async def _header_memo(self, meta: bytes, under: str | None) -> bytes:
        """The memo of a run that is to be started."""
        document: dict[str, Any] = orjson.loads(meta)
        header = document if under is None else document.get(under, {})
        if "memo" not in header:
            return meta
        header["memo"] = await self._memo(header["memo"], self._encoded)
        return orjson.dumps(document)

    async def _memo(self, memo: dict[str, str | None], turn: _Turn) -> dict[str, str | None]:
        return {
            name: None if text is None else wire.pack_bytes(await turn(wire.unpack_bytes(text)))
            for name, text in memo.items()
        }

    async def _encoded(self, body: bytes) -> bytes:
        return await apply_codec(self._codec, body, True)

    async def _decoded(self, body: bytes) -> bytes:
        return await apply_codec(self._codec, body, False)


def argument_digests(state: RunState) -> ArgumentDigests:
    """What makes the digests of a run's arguments."""
    if state.digests is None:
        details = state.readable or state.details
        state.digests = ArgumentDigests(details.run_id, details.input)
    return state.digests
