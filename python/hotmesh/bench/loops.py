"""The event loop that measurements run on: uvloop where it is installed."""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Coroutine
from typing import Any


def run_loop(main: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine to its end."""
    try:
        uvloop: Any = importlib.import_module("uvloop")
    except ModuleNotFoundError:
        return asyncio.run(main)
    return uvloop.run(main)


def loop_name() -> str:
    """What the running loop is called."""
    return type(asyncio.get_running_loop()).__module__.partition(".")[0]
