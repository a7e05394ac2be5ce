"""What a step has read, before the core is given it: rows whose run can't be told are left out."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from operator import itemgetter
from typing import Any

RUN_ID_BYTES = 16

_LOG = logging.getLogger(__name__)
_RUN = itemgetter(2)
_ALL_SOUND = {RUN_ID_BYTES}


def sound_rows(rows: Sequence[Any], what: str) -> Sequence[Any]:
    """The rows with a run id in their third column; the others stay in the store, and are told.

    Args:
        rows: Messages or timers as read.
        what: Which of the two, for the log.
    """
    try:
        if {*map(len, map(_RUN, rows))} <= _ALL_SOUND:
            return rows
    except TypeError:
        _LOG.debug("a %s has no run id at all", what)
    sound: list[Any] = []
    for row in rows:
        run_id: object = row[2]
        if isinstance(run_id, bytes) and len(run_id) == RUN_ID_BYTES:
            sound.append(row)
        else:
            _LOG.error("a %s of run %r is damaged and is left where it is", what, run_id)
    return sound
