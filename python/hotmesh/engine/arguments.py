"""What a command was called with, so that a replay can tell whether it asks for the same.

Headers of interceptors are left out: they may say something else each time, the arguments may not.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import orjson

from hotmesh.core import Event, kinds
from hotmesh.engine import wire

DIGEST_BYTES = 4
"""Enough to tell the arguments of one run apart."""

_RUN_ID_BYTES = 16
_KEY_BYTES = 32


def arguments_of(command: Event) -> bytes | None:
    """The arguments of a command; None if there are none to be compared."""
    kind, _, number, _, meta, body = command
    if kind == kinds.TIMER:
        return b"%d" % number
    if kind == kinds.ACTIVITY:
        return wire.split_document(body)[1]
    if kind == kinds.SIGNAL_EXTERNAL:
        return meta + wire.split_document(body)[1]
    if kind == kinds.CHILD:
        return orjson.loads(meta)["id"].encode() + b"\0" + body
    if kind == kinds.CONTINUE:
        return body[_RUN_ID_BYTES:]
    if kind == kinds.CANCEL_EXTERNAL:
        return meta + body
    return body if kind in kinds.WITH_ARGUMENTS else None


class ArgumentDigests:
    """Digests of the arguments of one run's commands, for journals whose bodies a codec has sealed.

    They are keyed with what the codec hides as well, the run's input: whoever can read the journal
    but not what the codec has sealed can't try arguments out.

    Args:
        run_id: The run.
        run_input: Its arguments, as its code sees them.
    """

    __slots__ = ("_key", "_secret")

    def __init__(self, run_id: bytes, run_input: bytes) -> None:
        self._secret = (run_id, run_input)
        self._key = b""  # Made when first needed: most runs never need one.

    def of(self, arguments: bytes) -> bytes:
        """The digest of a command's arguments."""
        if not self._key:
            made = hashlib.blake2b(self._secret[0], digest_size=_KEY_BYTES)
            made.update(self._secret[1])
            self._key = made.digest()
        return hashlib.blake2b(arguments, digest_size=DIGEST_BYTES, key=self._key).digest()

    def command(self, commands: Sequence[Event]) -> Event | None:
        """The command that records the digests of these; None if none of them has arguments."""
        found = [each for each in map(arguments_of, commands) if each is not None]
        if not found:
            return None
        return (kinds.DIGESTS, 0, 0, "", b"", b"".join(map(self.of, found)))
