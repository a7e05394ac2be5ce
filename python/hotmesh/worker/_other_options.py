"""Arguments of Temporal's worker that have no parameter of their own here.

Each is either without meaning where there is no server, and ignored with a debug line, or would
mean something, and refused by name as long as it has no effect.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from hotmesh.exceptions import UnsupportedOptionError

_log = logging.getLogger(__name__)

_WHERE = "Worker"


class UnsandboxedWorkflowRunner:
    """How workflows are run: in this process, their modules not imported again.

    It is what every worker does; accepted for ``Worker(workflow_runner=…)`` of ported code.
    """


_WITHOUT_MEANING = {
    "workflow_task_executor": "workflow code runs on the router's thread",
    "nexus_task_executor": "there are no Nexus handlers",
    "max_concurrent_nexus_tasks": "there are no Nexus handlers",
    "nexus_task_poller_behavior": "there are no Nexus handlers",
    "max_concurrent_nexus_task_polls": "there are no Nexus handlers",
    "max_concurrent_workflow_task_polls": "nothing is polled",
    "max_concurrent_activity_task_polls": "nothing is polled",
    "nonsticky_to_sticky_poll_ratio": "nothing is polled",
    "workflow_task_poller_behavior": "nothing is polled",
    "activity_task_poller_behavior": "nothing is polled",
    "sticky_queue_schedule_to_start_timeout": "a dead worker's runs move when its lease ends",
    "disable_safe_workflow_eviction": "eviction is always safe",
    "max_eager_activity_reservations_per_workflow_task": "an eager start reserves nothing",
    "max_workflow_task_external_storage_concurrency": "payloads are stored in the database",
}
"""Option → why nothing depends on it."""

_LIMITS = "limits of this kind are not kept yet: bound the work with max_concurrent_activities"

_REFUSED = {
    "nexus_service_handlers": "Nexus operations are not hosted",
    "plugins": "worker plugins are not called; give interceptors",
    "tuner": "slots are not tuned; give max_concurrent_activities",
    "max_concurrent_local_activities": "local activities count in max_concurrent_activities",
    "max_activities_per_second": _LIMITS,
    "max_task_queue_activities_per_second": _LIMITS,
    "use_worker_versioning": "runs are not tied to builds: use workflow.patched()",
    "deployment_config": "runs are not tied to builds: use workflow.patched()",
    "patch_activation_callback": "it would not be called",
    "disable_payload_error_limit": "raise the client's payload_limit",
}
"""Option → what to do instead."""


def check_other_options(given: Mapping[str, Any], client_plugins: Sequence[Any]) -> None:
    """Take the arguments that the worker has no parameter for.

    Args:
        given: Names and values.
        client_plugins: Of the worker's client; one that is a worker plugin too can't be honoured.

    Raises:
        TypeError: A name is unknown.
        UnsupportedOptionError: An option would mean something, but has no effect.
    """
    for name, value in given.items():
        if name in ("workflow_runner", "unsandboxed_workflow_runner"):
            if not isinstance(value, UnsandboxedWorkflowRunner):
                raise UnsupportedOptionError(
                    name, _WHERE, "workflows run in this process; UnsandboxedWorkflowRunner says so"
                )
        elif name in _REFUSED:
            if value is not None and value is not False and value != [] and value != ():
                raise UnsupportedOptionError(name, _WHERE, _REFUSED[name])
        elif name in _WITHOUT_MEANING:
            _log.debug("worker argument %s is ignored: %s", name, _WITHOUT_MEANING[name])
        else:
            raise TypeError(f"Worker() got an unexpected keyword argument {name!r}")
    for plugin in client_plugins:
        if hasattr(plugin, "configure_worker") or hasattr(plugin, "run_worker"):
            raise UnsupportedOptionError(
                "plugins", f"{_WHERE} (by its client)", _REFUSED["plugins"]
            )
