"""What workflow code may call says so when anybody else calls it."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from typing import Any

import pytest

from hotmesh import workflow
from hotmesh.exceptions import HotMeshError

CALLS: dict[str, Callable[[], Any]] = {
    "all_handlers_finished": workflow.all_handlers_finished,
    "cancellation_reason": workflow.cancellation_reason,
    "continue_as_new": workflow.continue_as_new,
    "deprecate_patch": lambda: workflow.deprecate_patch("p"),
    "emit": lambda: workflow.emit({}),
    "enrich": lambda: workflow.enrich({}),
    "execute_activity": lambda: workflow.execute_activity("a"),
    "execute_activity_class": lambda: workflow.execute_activity_class(_Callable),
    "execute_activity_method": lambda: workflow.execute_activity_method("a"),
    "execute_child_workflow": lambda: workflow.execute_child_workflow("c"),
    "execute_local_activity": lambda: workflow.execute_local_activity("a"),
    "execute_local_activity_class": lambda: workflow.execute_local_activity_class(_Callable),
    "execute_local_activity_method": lambda: workflow.execute_local_activity_method("a"),
    "extern_functions": workflow.extern_functions,
    "get_current_details": workflow.get_current_details,
    "get_dynamic_query_handler": workflow.get_dynamic_query_handler,
    "get_dynamic_signal_handler": workflow.get_dynamic_signal_handler,
    "get_dynamic_update_handler": workflow.get_dynamic_update_handler,
    "get_external_workflow_handle": lambda: workflow.get_external_workflow_handle("w"),
    "get_external_workflow_handle_for": lambda: workflow.get_external_workflow_handle_for(1, "w"),
    "get_last_completion_result": workflow.get_last_completion_result,
    "get_last_failure": workflow.get_last_failure,
    "get_query_handler": lambda: workflow.get_query_handler("q"),
    "get_signal_handler": lambda: workflow.get_signal_handler("s"),
    "get_update_handler": lambda: workflow.get_update_handler("u"),
    "has_last_completion_result": workflow.has_last_completion_result,
    "info": workflow.info,
    "instance": workflow.instance,
    "is_failure_exception": lambda: workflow.is_failure_exception(ValueError()),
    "memo": workflow.memo,
    "memo_value": lambda: workflow.memo_value("m"),
    "metric_meter": workflow.metric_meter,
    "new_random": workflow.new_random,
    "now": workflow.now,
    "patched": lambda: workflow.patched("p"),
    "payload_converter": workflow.payload_converter,
    "random": workflow.random,
    "random_seed": workflow.random_seed,
    "send_signal": lambda: workflow.send_signal("s"),
    "set_current_details": lambda: workflow.set_current_details("d"),
    "set_dynamic_query_handler": lambda: workflow.set_dynamic_query_handler(None),
    "set_dynamic_signal_handler": lambda: workflow.set_dynamic_signal_handler(None),
    "set_dynamic_update_handler": lambda: workflow.set_dynamic_update_handler(None),
    "set_query_handler": lambda: workflow.set_query_handler("q", None),
    "set_signal_handler": lambda: workflow.set_signal_handler("s", None),
    "set_update_handler": lambda: workflow.set_update_handler("u", None),
    "sleep": lambda: workflow.sleep(1),
    "start_activity": lambda: workflow.start_activity("a"),
    "start_activity_class": lambda: workflow.start_activity_class(_Callable),
    "start_activity_method": lambda: workflow.start_activity_method("a"),
    "start_child_workflow": lambda: workflow.start_child_workflow("c"),
    "start_local_activity": lambda: workflow.start_local_activity("a"),
    "start_local_activity_class": lambda: workflow.start_local_activity_class(_Callable),
    "start_local_activity_method": lambda: workflow.start_local_activity_method("a"),
    "time": workflow.time,
    "time_ns": workflow.time_ns,
    "trace": lambda: workflow.trace({}),
    "unsafe.is_read_only": workflow.unsafe.is_read_only,
    "unsafe.is_replaying": workflow.unsafe.is_replaying,
    "unsafe.is_replaying_history_events": workflow.unsafe.is_replaying_history_events,
    "upsert_memo": lambda: workflow.upsert_memo({}),
    "upsert_search_attributes": lambda: workflow.upsert_search_attributes({}),
    "uuid4": workflow.uuid4,
    "uuid7": workflow.uuid7,
    "wait": lambda: workflow.wait([asyncio.get_running_loop().create_future()]),
    "wait_condition": lambda: workflow.wait_condition(lambda: True),
    "wait_signal": lambda: workflow.wait_signal("s"),
}

ANYWHERE = {
    *("as_completed", "current_update_info", "in_workflow"),
    *("defn", "dynamic_config", "init", "query", "run", "signal", "update"),
}
"""What works, or means nothing, wherever it is called."""


class _Callable:
    async def __call__(self) -> None: ...


async def awaited(call: Callable[[], Any]) -> None:
    found = call()
    if inspect.isawaitable(found):
        await found


def test_all_that_is_public_is_looked_at() -> None:
    functions = {name for name in workflow.__all__ if inspect.isroutine(getattr(workflow, name))}
    named = {name.partition(".")[0] for name in CALLS} - {"unsafe"}
    assert functions - ANYWHERE == named


@pytest.mark.parametrize("name", CALLS)
async def test_outside_a_workflow_there_is_a_typed_error(name: str) -> None:
    with pytest.raises(workflow.NotInWorkflowError, match="Not in workflow event loop") as raised:
        await awaited(CALLS[name])
    assert isinstance(raised.value, HotMeshError)
    assert isinstance(raised.value, RuntimeError)


@pytest.mark.parametrize("name", ["info", "now", "uuid4"])
def test_without_a_loop_it_is_the_same_error(name: str) -> None:
    with pytest.raises(workflow.NotInWorkflowError):
        CALLS[name]()


async def test_what_works_anywhere() -> None:
    assert not workflow.in_workflow()
    assert workflow.current_update_info() is None
    assert not workflow.unsafe.in_sandbox()
    assert workflow.unsafe.current_time_provider() is workflow.time
    with workflow.unsafe.imports_passed_through(), workflow.unsafe.sandbox_unrestricted():
        pass
