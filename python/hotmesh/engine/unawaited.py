"""What the log says of an exception in workflow code that nobody awaited."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from hotmesh.engine.numbered import WorkflowTask
from hotmesh.printing import printable

logger = logging.getLogger(__name__)


def note(context: Mapping[str, Any], fields: Mapping[str, Any], *, is_news: bool) -> None:
    """Log it, as asyncio does.

    One that ended a task of the workflow's code is an error. Futures of HotMesh's own often have
    two waiters of which one went away, so those are for whoever debugs.

    Args:
        context: What asyncio says of it.
        fields: The run's, for the record.
        is_news: Whether it happens now: no replay, and none will come.
    """
    shown = is_news and isinstance(context.get("future"), WorkflowTask)
    level = logging.ERROR if shown else logging.DEBUG
    # The garbage collector may call, in the midst of anything: what is read is all that is written.
    if logger.isEnabledFor(level):
        logger.log(
            level,
            "%s in workflow %s",
            context.get("message"),
            fields["workflow_id"],
            exc_info=printable(context.get("exception")),
            extra=fields,
        )
