"""What a worker checks and keeps of its arguments."""

import inspect
import warnings
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from hotmesh import activity
from hotmesh.client import Client
from hotmesh.worker import Worker, WorkerConfig


@activity.defn
async def waits() -> None: ...


@activity.defn
def blocks() -> None: ...


async def undeclared() -> None: ...


@pytest.fixture
async def client(sqlite_url: str) -> AsyncIterator[Client]:
    async with await Client.connect(sqlite_url) as client:
        yield client


def test_the_configuration_has_a_place_for_every_argument() -> None:
    parameters = inspect.signature(Worker).parameters.values()
    named = {each.name for each in parameters if each.kind is not each.VAR_KEYWORD}
    assert set(WorkerConfig.__annotations__) == named


async def test_the_configuration_makes_the_same_worker(client: Client) -> None:
    worker = Worker(
        client,
        task_queue="q",
        activities=[waits],
        no_remote_activities=True,
        max_concurrent_workflow_tasks=7,
        tuner=None,
        strict_replay=True,
    )
    config = worker.config()
    assert config["no_remote_activities"] is True
    assert config["max_concurrent_workflow_tasks"] == 7
    assert Worker(**config).config() == config


async def test_an_activity_must_be_declared(client: Client) -> None:
    with pytest.raises(TypeError, match=r"undeclared missing attributes.*activity\.defn"):
        Worker(client, task_queue="q", activities=[undeclared])
    worker = Worker(client, task_queue="q", activities=[waits])
    with pytest.raises(TypeError, match="undeclared"):
        worker.add_activity(undeclared)


async def test_too_few_threads_are_warned_of(client: Client) -> None:
    with ThreadPoolExecutor(2) as few:
        with pytest.warns(UserWarning, match="max_workers is only 2"):
            Worker(
                client,
                task_queue="q",
                activities=[blocks],
                activity_executor=few,
                max_concurrent_activities=3,
            )
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            Worker(client, task_queue="q", activities=[blocks], activity_executor=few)


async def test_its_client_can_be_replaced(client: Client, tmp_path: object) -> None:
    worker = Worker(client, task_queue="q", activities=[waits])
    async with await Client.connect(client.backend.url) as other:
        worker.client = other
        assert worker.client is other
        assert worker.config()["client"] is other
    async with await Client.connect(f"sqlite:///{tmp_path}/other.db") as elsewhere:
        with pytest.raises(ValueError, match="same database"):
            worker.client = elsewhere
