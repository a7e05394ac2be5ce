"""Workflows that tests of a router run."""

from __future__ import annotations

from typing import Any

from hotmesh import workflow


async def asks() -> Any:
    """Waits for an activity."""
    return await workflow.execute_activity("act", 1, start_to_close_timeout=5)


async def sleeps() -> str:
    """Waits for a timer."""
    await workflow.sleep(60)
    return "slept"


async def listens() -> list[Any]:
    """Waits for a signal that says "end"; can be asked and added to."""
    heard: list[Any] = []
    workflow.set_signal_handler("say", heard.append)
    workflow.set_query_handler("heard", lambda: heard)
    workflow.set_update_handler("add", lambda word: heard.append(word) or len(heard))
    await workflow.wait_condition(lambda: "end" in heard)
    return heard
