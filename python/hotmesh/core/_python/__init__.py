"""The core in pure Python: the reference that the Rust twin must equal, byte for byte.

Files have the names of those in ``rust/core/src`` (``arrays``: in ``rust/ext/src``). Nothing here
reads a clock or does I/O.
"""

from hotmesh.core._python.arrays import decode_array, encode_array
from hotmesh.core._python.codec import (
    decode_event,
    decode_transition,
    encode_event,
    encode_event_prefix,
    encode_transition,
    lane_of,
)
from hotmesh.core._python.ledger import Ledger
from hotmesh.core._python.replay import match_commands
from hotmesh.core._python.router import Router
from hotmesh.core._python.wheel import Wheel

__all__ = [
    "Ledger",
    "Router",
    "Wheel",
    "decode_array",
    "decode_event",
    "decode_transition",
    "encode_array",
    "encode_event",
    "encode_event_prefix",
    "encode_transition",
    "lane_of",
    "match_commands",
]
