"""The states of a run in a router's memory, and the arrows between them. Both cores go by these.

An arrow says where a run may be when something happens to it, and where it is then. Elsewhere it
can't happen: where a caller may try, it is told so by a `RouterError`; else it is a broken
invariant, and nothing is done. ``make tables`` writes `rust/core/src/run_states.rs` and the picture
in `docs/architecture.md` from here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

COLD: Final = 0
"""Its journal is not loaded: whatever arrives waits."""
IDLE: Final = 1
"""Its ledger decides what becomes a job; there is none."""
BUSY: Final = 2
"""Jobs are in its code's hands; whatever arrives waits."""
CLOSED: Final = 3
"""It has ended; nothing but queries becomes a job."""
ANSWERING: Final = 4
"""It has ended, and queries are in its code's hands."""
GONE: Final = 5
"""It is not in memory."""

NAMES: dict[int, str] = {
    number: name.lower()
    for name, number in sorted(globals().items())
    if name.isupper() and isinstance(number, int)
}
"""State → name."""

Arrow = Mapping[int, int]
"""State before → state after."""

FIND: Arrow = {GONE: COLD}
"""Something came for a run that is not in memory, or is left of one that was forgotten."""
BEGIN: Arrow = {GONE: IDLE}
"""Its first message came, so that its journal is known to be empty."""
LOAD: Arrow = {COLD: IDLE}
"""Its journal was read."""
LOAD_CLOSED: Arrow = {COLD: CLOSED}
"""Its journal was read, and it has ended."""
GIVE: Arrow = {IDLE: BUSY, BUSY: BUSY}
"""The ledger has accepted a job."""
ASK: Arrow = {IDLE: BUSY, BUSY: BUSY, CLOSED: ANSWERING, ANSWERING: ANSWERING}
"""A query has come."""
DEFER: Arrow = {BUSY: IDLE, ANSWERING: CLOSED}
"""All its jobs were queries, and go back to what waits."""
CLOSE: Arrow = {IDLE: CLOSED, BUSY: CLOSED}
"""A closing command was recorded."""
COMPLETE: Arrow = {IDLE: IDLE, BUSY: IDLE, CLOSED: CLOSED, ANSWERING: CLOSED}
"""An activation has ended, or commands of the router were recorded without one."""
FAIL: Arrow = {COLD: COLD, IDLE: COLD, BUSY: COLD, CLOSED: COLD, ANSWERING: COLD}
"""An activation has failed, or what is known of the run is not to be trusted."""
EVICT: Arrow = {IDLE: GONE, CLOSED: GONE}
"""Room is needed, and nothing of it is going on."""
FINISH: Arrow = {CLOSED: GONE}
"""Its end is stored, and nothing is owed to it."""
LEAVE: Arrow = {COLD: GONE}
"""It is another router's, or nobody's."""
FORGET: Arrow = {COLD: GONE, IDLE: GONE, BUSY: GONE, CLOSED: GONE, ANSWERING: GONE}
"""A step was not applied, its lane is given back, or the store is not what it was."""

ARROWS: dict[str, Arrow] = {
    name.lower(): arrow
    for name, arrow in globals().items()
    if name.isupper() and isinstance(arrow, dict) and name != "NAMES"
}
"""Name of what happens → the arrows, in the order above."""
