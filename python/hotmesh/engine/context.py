"""Which run the calling code belongs to."""

from __future__ import annotations

from threading import get_ident
from typing import TYPE_CHECKING

from hotmesh.engine.info import NotInWorkflowError
from hotmesh.engine.loop import active, active_loop

if TYPE_CHECKING:
    from hotmesh.engine.instance import WorkflowInstance


def maybe_current() -> WorkflowInstance | None:
    """The run whose code is calling, or None outside workflow code."""
    loop = active_loop()
    return None if loop is None else loop.host  # type: ignore[return-value]


def current() -> WorkflowInstance:
    """The run whose code is calling.

    Raises:
        NotInWorkflowError: the caller is not workflow code.
    """
    stage = active.get(get_ident())  # As `active_loop`, without its call.
    if stage is None or stage.loop is None:
        raise NotInWorkflowError
    return stage.loop.host  # type: ignore[return-value]
