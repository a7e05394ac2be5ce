"""What introspection shows of functions that only pass their options on."""

import inspect
from collections.abc import Callable
from typing import Any

import pytest

from hotmesh import workflow
from hotmesh.worker import UnsandboxedWorkflowRunner


@pytest.mark.parametrize(
    ("function", "model"),
    [
        (workflow.execute_activity, workflow.start_activity),
        (workflow.start_activity_method, workflow.start_activity),
        (workflow.execute_activity_class, workflow.start_activity),
        (workflow.execute_local_activity, workflow.start_local_activity),
        (workflow.start_local_activity_method, workflow.start_local_activity),
        (workflow.execute_child_workflow, workflow.start_child_workflow),
    ],
)
def test_options_are_shown_by_name(function: Callable[..., Any], model: Callable[..., Any]) -> None:
    assert inspect.signature(function).parameters == inspect.signature(model).parameters


def test_a_config_names_every_option_of_its_call() -> None:
    for config, function in (
        (workflow.ActivityConfig, workflow.start_activity),
        (workflow.LocalActivityConfig, workflow.start_local_activity),
        (workflow.ChildWorkflowConfig, workflow.start_child_workflow),
    ):
        assert set(config.__annotations__) <= set(inspect.signature(function).parameters)


def test_the_unsandboxed_runner_needs_no_arguments() -> None:
    assert UnsandboxedWorkflowRunner()
