"""The payload codec around workflow code: what is stored is encoded, what the code sees is not.

A codec may do I/O, workflow code may not. So a router decodes what a run is about to see before
its activation, and encodes what the run has issued after it; the journal, tasks, messages and
replies hold only encoded values. Routers without a codec never come here.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import orjson

from hotmesh import json_bytes
from hotmesh.converter import (
    PayloadCodec,
    apply_codec,
    apply_codec_to_failure,
)
from hotmesh.core import Event, Transition, kinds
from hotmesh.core.journal import Journal, Transitions
from hotmesh.core.kinds import FAILURES, VALUES
from hotmesh.engine import wire
from hotmesh.engine.arguments import ArgumentDigests
from hotmesh.engine.details import RunDetails
from hotmesh.router.codecs import RunCodecs
from hotmesh.router.state import RunState

_RUN_ID_BYTES = 16


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
        codecs = self._codecs(state)
        if state.instance is None:
            if state.readable is None:
                state.readable = await self._details(codecs.own, state.details)
            state.transitions = await _open_journal(codecs, state.transitions)
        return await _open_all(codecs, jobs)

    async def seal(self, state: RunState, commands: Sequence[Event]) -> list[Event]:
        """Make a run's commands fit to be stored.

        Raises:
            Exception: whatever the codec raises; the task has failed then.
        """
        if commands and commands[-1][0] in FAILURES:
            state.failure = commands[-1][5]
        codecs = self._codecs(state)
        sealed = [await self._seal_one(codecs, command) for command in commands]
        digests = argument_digests(state).command(commands)
        return sealed if digests is None else [digests, *sealed]

    async def seal_replies(
        self, state: RunState, replies: Sequence[tuple[bytes, bytes]]
    ) -> list[tuple[bytes, bytes]]:
        """Make answers to queries and updates fit to be stored."""
        own = self._codecs(state).own
        return [(reply_id, await _outcome(own, data)) for reply_id, data in replies]

    # Within

    def _codecs(self, state: RunState) -> RunCodecs:
        found = state.codecs
        if found is None:
            found = state.codecs = RunCodecs(self._codec, state.details)
        return found

    async def _seal_one(self, codecs: RunCodecs, command: Event) -> Event:
        kind, seq, number, name, meta, body = command
        codec = codecs.for_command(command)
        if kind == kinds.CONTINUE:
            run_id, values = body[:_RUN_ID_BYTES], body[_RUN_ID_BYTES:]
            meta = await _header_memo(codec, meta, None)
            return (kind, seq, number, name, meta, run_id + await _values(codec, values, True))
        if kind == kinds.CHILD:
            meta = await _header_memo(codec, meta, "header")
        elif kind == kinds.UPDATE_COMPLETED:
            return (kind, seq, number, name, meta, await _outcome(codec, body))
        elif kind == kinds.UPSERT and name == "memo":
            memo = await _memo(codec, orjson.loads(body), True)
            return (kind, seq, number, name, meta, json_bytes.dumps(memo))
        return (kind, seq, number, name, meta, await _turn(codec, kind, body, encode=True))

    async def _details(self, codec: PayloadCodec, details: RunDetails) -> RunDetails:
        header = dict(details.header)
        if "memo" in header:
            header["memo"] = await _memo(codec, header["memo"], False)
        if "last_failure" in header:
            failure = wire.unpack_bytes(header["last_failure"])
            readable = await apply_codec_to_failure(codec, failure, False)
            header["last_failure"] = wire.pack_bytes(readable)
        body = await apply_codec(codec, details.input, False)
        return dataclasses.replace(details, header=header, input=body)


async def _open_journal(codecs: RunCodecs, journal: Transitions) -> Transitions:
    """Make a journal readable: a large one row by row, each in the place of what is stored."""
    opened: list[Transition] = []
    is_large = isinstance(journal, Journal)
    for at in range(len(journal)):
        now_ms, seen, commands = journal[at]
        transition = (now_ms, await _open_all(codecs, seen), commands)
        codecs.note(commands)
        if is_large:
            journal.replace(at, transition)
        else:
            opened.append(transition)
        del seen, transition
    return journal if is_large else opened


async def _open_all(codecs: RunCodecs, jobs: Sequence[Event]) -> list[Event]:
    return [
        job
        if not job[5]
        else (*job[:5], await _turn(codecs.for_job(job), job[0], job[5], encode=False))
        for job in jobs
    ]


async def _turn(codec: PayloadCodec, kind: int, body: bytes, *, encode: bool) -> bytes:
    if kind in VALUES:
        return await _values(codec, body, encode)
    if kind in FAILURES and body:
        return await apply_codec_to_failure(codec, body, encode)
    return body


async def _values(codec: PayloadCodec, body: bytes, encode: bool) -> bytes:
    document, values = wire.split_document(body)
    return wire.join_document(document, await apply_codec(codec, values, encode))


async def _outcome(codec: PayloadCodec, data: bytes) -> bytes:
    """An answer: a status byte and what it announces."""
    status, rest = data[:1], data[1:]
    if status == b"R":
        return status + await apply_codec(codec, rest, True)
    if status in (b"F", b"X"):
        return status + await apply_codec_to_failure(codec, rest, True)
    return data


async def _header_memo(codec: PayloadCodec, meta: bytes, under: str | None) -> bytes:
    """The memo of a run that is to be started."""
    document: dict[str, Any] = orjson.loads(meta)
    header = document if under is None else document.get(under, {})
    if "memo" not in header:
        return meta
    header["memo"] = await _memo(codec, header["memo"], True)
    return json_bytes.dumps(document)


async def _memo(
    codec: PayloadCodec, memo: dict[str, str | None], encode: bool
) -> dict[str, str | None]:
    return {
        name: None
        if text is None
        else wire.pack_bytes(await apply_codec(codec, wire.unpack_bytes(text), encode))
        for name, text in memo.items()
    }


def argument_digests(state: RunState) -> ArgumentDigests:
    """What makes the digests of a run's arguments."""
    if state.digests is None:
        details = state.readable or state.details
        state.digests = ArgumentDigests(details.run_id, details.input)
    return state.digests
