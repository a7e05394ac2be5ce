"""Messages for runs that have closed."""

from __future__ import annotations

import logging

from hotmesh.core import Event, kinds
from hotmesh.engine import wire
from hotmesh.router.effects import Effects

logger = logging.getLogger(__name__)


def answer_late(effects: Effects, run_id: bytes, event: Event) -> None:
    """A message for a closed run. Results are expected to come late; callers are told.

    Args:
        effects: Of the next step.
        run_id: The run's.
        event: The message.

    Raises:
        ValueError: It can't be read.
        TypeError: Likewise.
    """
    kind, replies = event[0], effects.replies
    effects.begin(run_id)
    if kind == kinds.TERMINATE:
        document, _ = wire.split_document(event[5])
        if "reply" in document:
            replies.append((bytes.fromhex(document["reply"]), b"T"))
    elif kind == kinds.UPDATE:
        document, _ = wire.split_document(event[5])
        text = b"Nworkflow execution already completed"
        for key in ("accepted", "completed"):
            if key in document:
                replies.append((bytes.fromhex(document[key]), text))
    elif kind == kinds.SIGNAL:
        logger.warning("signal %r came after run %s had closed", event[3], wire.run_id_text(run_id))
