"""Options of Temporal's worker: each has its effect, means nothing here, or is refused by name."""

import logging
from typing import Any

import pytest

from hotmesh.client import Client
from hotmesh.common import Priority
from hotmesh.exceptions import UnsupportedOptionError
from hotmesh.worker import UnsandboxedWorkflowRunner, Worker
from hotmesh.worker._other_options import check_other_options


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("tuner", object()),
        ("plugins", [object()]),
        ("nexus_service_handlers", [object()]),
        ("max_concurrent_local_activities", 3),
        ("max_activities_per_second", 5.0),
        ("max_activities_per_second", 0.0),
        ("max_task_queue_activities_per_second", 5.0),
        ("use_worker_versioning", True),
        ("deployment_config", object()),
        ("patch_activation_callback", print),
        ("disable_payload_error_limit", True),
        ("workflow_runner", object()),
        ("unsandboxed_workflow_runner", object()),
    ],
)
def test_what_would_have_an_effect_is_refused_by_name(option: str, value: Any) -> None:
    with pytest.raises(UnsupportedOptionError, match=option) as refused:
        check_other_options({option: value}, ())
    assert refused.value.option == option


@pytest.mark.parametrize("value", [None, False, (), []])
def test_what_asks_for_nothing_is_accepted(value: Any) -> None:
    check_other_options({"plugins": value, "tuner": value, "max_activities_per_second": value}, ())
    check_other_options({"workflow_runner": UnsandboxedWorkflowRunner()}, ())


def test_what_means_nothing_here_is_said_in_the_debug_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.DEBUG, "hotmesh"):
        check_other_options({"max_concurrent_workflow_task_polls": 5}, ())
    assert "max_concurrent_workflow_task_polls" in caplog.text


def test_an_unknown_option_is_a_type_error() -> None:
    with pytest.raises(TypeError, match="max_speed"):
        check_other_options({"max_speed": 5}, ())


def test_a_worker_plugin_of_the_client_is_refused() -> None:
    class Both:
        def configure_worker(self, config: Any) -> Any:
            return config

    with pytest.raises(UnsupportedOptionError, match="plugins"):
        check_other_options({}, [Both()])


async def nothing() -> None:
    """A workflow."""


async def test_the_worker_asks(sqlite_url: str) -> None:
    async with await Client.connect(sqlite_url) as client:
        with pytest.raises(UnsupportedOptionError, match="max_activities_per_second"):
            Worker(client, task_queue="q", workflows=[nothing], max_activities_per_second=1.0)
        with pytest.raises(ValueError, match="max_concurrent_workflow_tasks"):
            Worker(client, task_queue="q", workflows=[nothing], max_concurrent_workflow_tasks=0)
        Worker(client, task_queue="q", workflows=[nothing], max_concurrent_workflow_tasks=1)


@pytest.mark.parametrize(
    ("priority", "field"),
    [
        (Priority(priority_key=1), "priority_key"),
        (Priority(fairness_key="tenant"), "fairness_key"),
        (Priority(fairness_weight=2.0), "fairness_weight"),
    ],
)
async def test_a_start_with_a_priority_is_refused(
    sqlite_url: str, priority: Priority, field: str
) -> None:
    async with await Client.connect(sqlite_url) as client:
        with pytest.raises(UnsupportedOptionError, match=field):
            await client.start_workflow("w", id="w", task_queue="q", priority=priority)
        await client.start_workflow("w", id="w", task_queue="q", priority=Priority())
