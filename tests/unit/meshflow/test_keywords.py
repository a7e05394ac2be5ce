"""Unknown names: the error says which one was meant."""

import pytest

from hotmesh import meshflow
from hotmesh.exceptions import InvalidArgumentError
from hotmesh.meshflow._keywords import checked, unknown


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("taskQueue", "did you mean 'task_queue'"),
        ("task_que", "did you mean 'task_queue'"),
        ("colour", "known are namespace, task_queue"),
    ],
)
def test_the_right_name_is_said(name: str, says: str) -> None:
    assert says in unknown([name, "namespace"], {"namespace", "task_queue"})
    assert unknown(["namespace"], {"namespace", "task_queue"}) == ""


def test_a_checked_function_is_the_same_function() -> None:
    @checked
    def add(one: int, *, to_it: int) -> int:
        """Add."""
        return one + to_it

    assert add(1, to_it=2) == 3
    assert add.__doc__ == "Add."
    with pytest.raises(TypeError, match=r"add\(\): unknown 'toIt', did you mean 'to_it'"):
        add(1, toIt=2)  # pyright: ignore[reportCallIssue]


async def test_every_call_of_the_face_says_it() -> None:
    client = meshflow.Client("sqlite://")
    with pytest.raises(TypeError, match="task_queue"):
        await client.workflow.start(workflow_name="w", taskQueue="q")
    with pytest.raises(TypeError, match="task_queue"):
        await meshflow.Worker.create(taskQueue="q")
    with pytest.raises(TypeError, match="workflow_name"):
        meshflow.workflow.exec_child(workflowName="w")
    with pytest.raises(TypeError, match="connection"):
        meshflow.Client(connecton="sqlite://")
    with pytest.raises(InvalidArgumentError, match="backoff_coefficient"):
        await meshflow.Worker.create(workflow={"w": print}, options={"backoffCoefficient": 2})
