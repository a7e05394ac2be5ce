"""Which run the calling code belongs to."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from hotmesh.engine.info import NotInWorkflowError
from hotmesh.engine.loop import WorkflowLoop

if TYPE_CHECKING:
    from hotmesh.engine.instance import WorkflowInstance

_get_running_loop = asyncio._get_running_loop  # pyright: ignore[reportPrivateUsage]


def maybe_current() -> WorkflowInstance | None:
    """The run whose code is calling, or None outside workflow code."""
    loop = _get_running_loop()
    if type(loop) is WorkflowLoop:
        return loop.host  # type: ignore[return-value]
    return None


def current() -> WorkflowInstance:
    """The run whose code is calling.

    Raises:
        NotInWorkflowError: the caller is not workflow code.
    """
    loop = _get_running_loop()
    if type(loop) is WorkflowLoop:
        return loop.host  # type: ignore[return-value]
    raise NotInWorkflowError
