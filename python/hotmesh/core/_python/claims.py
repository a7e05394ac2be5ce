"""Claims: the ids of the messages in this router's hands, from reading to committed ack."""

from __future__ import annotations

from collections.abc import Container


class Claims:
    """Message id → run id. A message read a second time while in hand is recognised here."""

    __slots__ = ("_runs",)

    def __init__(self) -> None:
        self._runs: dict[int, bytes] = {}

    def __len__(self) -> int:
        return len(self._runs)

    def take(self, message_id: int, run_id: bytes) -> bool:
        """Claim a message; false if it is in hand already."""
        if message_id in self._runs:
            return False
        self._runs[message_id] = run_id
        return True

    def settle(self, message_id: int) -> None:
        """The message's acknowledgement is committed."""
        self._runs.pop(message_id, None)

    def forget(self, run_ids: Container[bytes]) -> None:
        """Let go of every message of these runs."""
        self._runs = {key: run for key, run in self._runs.items() if run not in run_ids}
