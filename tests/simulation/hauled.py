"""A workflow with large values, and limits so low that values of some kilobytes are large."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Iterator
from unittest import mock

from hotmesh import limits, workflow
from hotmesh.backends.sqlite import pieces, reading
from hotmesh.router import local_activities, pipe
from simulation.app import EAGER, TASK

SCALE = 256
"""What is large is so much smaller here."""

LARGE_BYTES = 100
"""From which on results in the process of their workflow are counted."""

BATCH_MESSAGES = 6
"""Messages that one step reads."""

_SCALED = (
    *("BATCH_BYTES_MAX", "STEP_BYTES_MAX", "LARGE_TURN_BYTES", "ROPE_BYTES", "JOURNAL_BYTES_MAX"),
    *("CACHE_BYTES_MAX", "RESULTS_BYTES_MAX", "PLACED_BYTES_MAX", "SMALL_BYTES_MAX"),
)


@contextlib.contextmanager
def low_limits() -> Iterator[None]:
    """In the block the limits in bytes are low, wherever the engine has them by name."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(mock.patch.object(pipe, "BATCH_MESSAGES_MAX", BATCH_MESSAGES))
        named = [module for name, module in sys.modules.items() if name.startswith("hotmesh.")]
        for name in _SCALED:
            low = getattr(limits, name) // SCALE
            for module in named:
                if name in vars(module):
                    stack.enter_context(mock.patch.object(module, name, low))
        stack.enter_context(mock.patch.object(local_activities, "LARGE_BYTES", LARGE_BYTES))
        low = pieces.PIECE_BYTES // SCALE
        stack.enter_context(mock.patch.object(pieces, "PIECE_BYTES", low))
        small = limits.SMALL_BYTES_MAX * SCALE
        low_sql = reading._READ_MESSAGES.replace(str(small), str(small // SCALE))
        assert low_sql != reading._READ_MESSAGES
        stack.enter_context(mock.patch.object(reading, "_READ_MESSAGES", low_sql))
        yield


@workflow.defn
class Hauls:
    """Gets something large, has it carried, beside others at last, and gives something large."""

    @workflow.run
    async def run(self, first: int, count: int, text: str) -> str:
        for number in range(first, first + count - 1):
            options = TASK if number % 3 == 0 else EAGER
            text, _ = await asyncio.gather(
                workflow.execute_activity("carry", text, **options),
                workflow.execute_activity("add_carefully", number, **TASK),
            )
        carried = [workflow.execute_activity("carry", text, **EAGER) for _ in range(count)]
        texts: set[str] = set(await asyncio.gather(*carried))
        (text,) = texts
        return text
