"""Metrics of user code: they reach the provider that the program has set."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from opentelemetry import metrics
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from hotmesh import activity, workflow
from hotmesh.client import Client
from hotmesh.telemetry import program_meter
from hotmesh.worker import Worker


class Measured:
    """What a provider of this test alone got."""

    def __init__(self, reader: InMemoryMetricReader) -> None:
        self._reader = reader

    def points(self) -> dict[str, list[tuple[Any, dict[str, Any]]]]:
        """Name → (value, or sum of values; attributes) of each series."""
        data = self._reader.get_metrics_data()
        found: dict[str, list[tuple[Any, dict[str, Any]]]] = {}
        for resource in data.resource_metrics if data else ():
            for scope in resource.scope_metrics:
                for metric in scope.metrics:
                    found[metric.name] = [
                        (
                            point.value if hasattr(point, "value") else point.sum,
                            dict(point.attributes),
                        )
                        for point in metric.data.data_points
                    ]
        return found


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> Iterator[Measured]:
    """A provider of this test alone."""
    reader = InMemoryMetricReader()
    provider = MeterProvider(metric_readers=[reader])
    monkeypatch.setattr(metrics, "get_meter", provider.get_meter)
    yield Measured(reader)
    provider.shutdown()


def test_each_kind_of_metric_reaches_the_provider(measured: Measured) -> None:
    meter = program_meter({"queue": "q"}).with_additional_attributes({"more": 1})
    meter.create_counter("counter", "counts", "1").add(2, {"own": True})
    meter.create_counter("counter", "counts", "1").add(3, {"own": True})
    meter.create_histogram("histogram").record(4)
    meter.create_histogram_float("float").record(0.5)
    meter.create_histogram_timedelta("duration").record(timedelta(seconds=1.5))
    meter.create_gauge("gauge").set(7)
    meter.create_gauge_float("gauge_float").with_additional_attributes({"own": 2.5}).set(0.25)
    both = {"queue": "q", "more": 1}
    assert measured.points() == {
        "counter": [(5, {**both, "own": True})],
        "histogram": [(4, both)],
        "float": [(0.5, both)],
        "duration": [(1500, both)],
        "gauge": [(7, both)],
        "gauge_float": [(0.25, {**both, "own": 2.5})],
    }


def test_a_metric_says_what_it_is(measured: Measured) -> None:
    metric = program_meter({}).create_histogram_timedelta("wait", "of customers")
    assert (metric.name, metric.description, metric.unit) == ("wait", "of customers", "ms")


def test_bad_measurements_are_refused(measured: Measured) -> None:
    counter = program_meter({}).create_counter("counter")
    with pytest.raises(ValueError, match="counter"):
        counter.add(-1)
    with pytest.raises(TypeError, match="when"):
        counter.add(1, {"when": object()})  # pyright: ignore[reportArgumentType]
    assert measured.points() == {}


def test_a_closed_gate_lets_nothing_through(measured: Measured) -> None:
    program_meter({}, lambda: False).create_counter("counter").add(1)
    assert measured.points() == {}


@activity.defn
async def measure() -> None:
    activity.metric_meter().create_counter("in_activity").add(1)


@workflow.defn
class Measures:
    @workflow.run
    async def run(self) -> None:
        counter = workflow.metric_meter().create_counter("in_workflow")
        counter.add(1)
        for _ in range(3):
            await workflow.execute_activity(measure, start_to_close_timeout=timedelta(seconds=9))
        counter.add(1)


async def test_user_code_measures_once_however_often_it_is_replayed(
    measured: Measured, sqlite_url: str
) -> None:
    async with (
        await Client.connect(sqlite_url) as client,
        Worker(
            client,
            task_queue="q",
            workflows=[Measures],
            activities=[measure],
            max_cached_workflows=0,
        ),
    ):
        await client.execute_workflow(Measures.run, id="w", task_queue="q")
    about = {"namespace": "default", "task_queue": "q"}
    assert measured.points() == {
        "in_activity": [(3, {**about, "activity_type": "measure"})],
        "in_workflow": [(2, {**about, "workflow_type": "Measures"})],
    }
