"""Errors of the core. Both implementations raise these very classes with these very texts.

Each carries a `code` (a short stable word) to branch on; the texts are made here and only here.
"""

from __future__ import annotations

from uuid import UUID

from hotmesh.core import kinds

__all__ = ["CodecError", "CoreError", "LedgerError", "RouterError"]

_CODEC_TEXTS = {
    "truncated": "ends too early",
    "trailing": "has bytes after its end",
    "varint": "has a number that is overlong or beyond 64 bits",
    "range": "has a number outside its range",
    "utf8": "has a name that is not UTF-8",
    "magic": "does not begin with the magic byte",
    "version": "has a version this release does not know; upgrade hotmesh",
    "flags": "has flags this release does not know; upgrade hotmesh",
    "checksum": "does not match its checksum",
}

_LEDGER_TEXTS = {
    "opened_twice": "opens a command that was opened before",
    "not_open": "refers to a command that is not open",
    "range": "has a sequence number or queue outside the allowed range",
    "purpose": "has a deadline purpose that is neither 1 nor 2",
    "after_close": "comes after the command that closed the run",
    "not_accepted": "is recorded in the journal, but could not have been accepted there",
}

_ROUTER_TEXTS = {
    "unknown": "is not known to this router; it was dropped or never read",
    "cold": "is not loaded; load its journal first",
    "warm": "is loaded already",
    "stale": "has committed transitions that the journal given to load() lacks; read it again",
}


class CoreError(ValueError):
    """Base of the core's errors. `code` names the kind of error in one word."""

    code: str


class CodecError(CoreError):
    """A frame is damaged or newer than this release.

    Args:
        code: One of truncated, trailing, varint, range, utf8, magic, version, flags, checksum.
        frame: What was being read or written: "event" or "transition".
        offset: The byte at which it went wrong.
    """

    def __init__(self, code: str, frame: str, offset: int) -> None:
        super().__init__(code, frame, offset)
        self.code = code
        self.frame = frame
        self.offset = offset

    def __str__(self) -> str:
        return f"{self.frame} frame {_CODEC_TEXTS[self.code]} (at byte {self.offset})"


class LedgerError(CoreError):
    """A command or a recorded job contradicts the run's ledger.

    Args:
        code: One of opened_twice, not_open, range, purpose, after_close, not_accepted.
        kind: The kind of the event that was refused.
        seq: Its sequence number.
    """

    def __init__(self, code: str, kind: int, seq: int) -> None:
        super().__init__(code, kind, seq)
        self.code = code
        self.kind = kind
        self.seq = seq

    def __str__(self) -> str:
        name = kinds.NAMES.get(self.kind, f"kind {self.kind}")
        return f"{name} with seq {self.seq} {_LEDGER_TEXTS[self.code]}"


class RouterError(CoreError):
    """A call does not fit the state of the run it names.

    Args:
        code: One of unknown, cold, warm, stale.
        run_id: The run.
    """

    def __init__(self, code: str, run_id: bytes) -> None:
        super().__init__(code, run_id)
        self.code = code
        self.run_id = run_id

    def __str__(self) -> str:
        return f"run {UUID(bytes=self.run_id)} {_ROUTER_TEXTS[self.code]}"
