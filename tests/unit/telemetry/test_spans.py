"""Spans: made only where a provider takes them, and holding what was given."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from hotmesh.telemetry import SPAN_NAME, record_span

FIELDS = {"workflow_id": "w", "run_id": "r", "namespace": "n", "workflow_type": "t"}
TAGS = {f"hotmesh.{name}": value for name, value in FIELDS.items()}


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemorySpanExporter]:
    """What a provider of this test alone gets."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "get_tracer", provider.get_tracer)
    yield exporter
    provider.shutdown()


def only(spans: InMemorySpanExporter) -> ReadableSpan:
    (span,) = spans.get_finished_spans()
    return span


def test_a_span_holds_attributes_and_who_made_it(spans: InMemorySpanExporter) -> None:
    start_ms = time.time_ns() // 1_000_000 - 50
    record_span(SPAN_NAME, {"version": 1, "complete": True}, start_ms, FIELDS)
    span = only(spans)
    assert span.name == "hotmesh.workflow.trace"
    assert span.attributes == {"version": 1, "complete": True, **TAGS}
    assert span.start_time == start_ms * 1_000_000
    assert span.end_time is not None
    assert span.end_time - span.start_time >= 50_000_000


@pytest.mark.parametrize(
    ("given", "name"), [("mine", "mine"), ("", SPAN_NAME), (7, SPAN_NAME), (None, SPAN_NAME)]
)
def test_its_name_may_be_an_attribute(spans: InMemorySpanExporter, given: Any, name: str) -> None:
    record_span(SPAN_NAME, {"name": given}, 0, {})
    assert only(spans).name == name


@pytest.mark.parametrize(
    ("value", "stored"),
    [
        ("text", "text"),
        (1.5, 1.5),
        (False, False),
        (2**63 - 1, 2**63 - 1),
        (2**63, str(2**63)),
        (["a", "b"], ("a", "b")),
        ([1, 2], (1, 2)),
        ([], ()),
        ([1, "a"], '[1,"a"]'),
        ([2**70], f"[{2**70}]"),
        ({"x": [1]}, '{"x":[1]}'),
        (None, "null"),
    ],
)
def test_values_that_no_span_can_hold_become_text(
    spans: InMemorySpanExporter, value: Any, stored: Any
) -> None:
    record_span(SPAN_NAME, {"value": value}, 0, {})
    attributes = only(spans).attributes
    assert attributes is not None
    assert attributes["value"] == stored
    assert type(attributes["value"]) is type(stored)


def test_a_clock_ahead_of_ours_makes_no_negative_span(spans: InMemorySpanExporter) -> None:
    ahead_ms = time.time_ns() // 1_000_000 + 60_000
    record_span(SPAN_NAME, {}, ahead_ms, {})
    span = only(spans)
    assert span.start_time == span.end_time == ahead_ms * 1_000_000


def test_a_failing_provider_is_logged_only(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Failing(SpanProcessor):
        def on_start(self, span: Any, parent_context: Any = None) -> None:
            raise RuntimeError("no room")

    provider = TracerProvider()
    provider.add_span_processor(Failing())
    monkeypatch.setattr(trace, "get_tracer", provider.get_tracer)
    record_span(SPAN_NAME, {}, 0, {})
    assert "failed to record span 'hotmesh.workflow.trace'" in caplog.text
    assert "no room" in caplog.text


def test_importing_the_package_imports_no_telemetry() -> None:
    program = (
        "import sys, json, hotmesh.meshflow, hotmesh.telemetry as t;"
        "t.record_span('x', {}, 0, {});"
        "print(json.dumps([m for m in sys.modules if m.startswith('opentelemetry')]))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert json.loads(done.stdout) == []
