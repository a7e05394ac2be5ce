"""Shared values: policies, payloads, search attributes, argument helpers."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hotmesh.common import (
    ARG_UNSET,
    MetricMeter,
    Payload,
    Priority,
    RawValue,
    RetryPolicy,
    SearchAttributeIndexedValueType,
    SearchAttributeKey,
    SearchAttributePair,
    TypedSearchAttributes,
    WorkerDeploymentVersion,
    WorkflowIDConflictPolicy,
    WorkflowIDReusePolicy,
    arg_or_args,
    type_hints_from_func,
)
from hotmesh.exceptions import ConversionError, InvalidArgumentError


def seconds(number: float) -> timedelta:
    return timedelta(seconds=number)


# -- Retry policy --


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        (RetryPolicy(initial_interval=seconds(-1)), "Initial interval cannot be negative"),
        (RetryPolicy(backoff_coefficient=0.9), "Backoff coefficient cannot be less than 1"),
        (RetryPolicy(backoff_coefficient=float("nan")), "Backoff coefficient"),
        (RetryPolicy(maximum_interval=seconds(-1)), "Maximum interval cannot be negative"),
        (RetryPolicy(maximum_interval=seconds(0.5)), "less than initial interval"),
        (RetryPolicy(maximum_attempts=-1), "Maximum attempts cannot be negative"),
    ],
)
def test_retry_policy_refuses_nonsense(policy: RetryPolicy, message: str) -> None:
    with pytest.raises(InvalidArgumentError, match=message):
        policy.validate()


def test_retry_policy_without_retries_needs_no_sensible_delays() -> None:
    policy = RetryPolicy(initial_interval=seconds(-1), maximum_attempts=1)
    policy.validate()
    assert policy.maximum_attempts == 1


@pytest.mark.parametrize(
    ("policy", "intervals"),
    [
        (RetryPolicy(), [1, 2, 4, 8]),
        (RetryPolicy(backoff_coefficient=10), [1, 10, 100, 100]),
        (RetryPolicy(maximum_interval=seconds(3)), [1, 2, 3, 3]),
        (RetryPolicy(backoff_coefficient=1), [1, 1, 1, 1]),
    ],
)
def test_retry_intervals(policy: RetryPolicy, intervals: list[float]) -> None:
    found = [policy.interval_before(attempt).total_seconds() for attempt in range(2, 6)]
    assert found == intervals


def test_retry_interval_of_a_huge_attempt_is_the_maximum() -> None:
    assert RetryPolicy().interval_before(1_000_000) == seconds(100)


def test_policy_numbers_are_part_of_the_stored_format() -> None:
    assert [int(each) for each in WorkflowIDReusePolicy] == [1, 2, 3, 4]
    assert [int(each) for each in WorkflowIDConflictPolicy] == [0, 1, 2, 3]


# -- Priority, versions --


def test_priority_checks_its_key() -> None:
    assert Priority.default == Priority(None, None, None)
    assert Priority(priority_key=1).priority_key == 1
    with pytest.raises(InvalidArgumentError):
        Priority(priority_key=0)
    with pytest.raises(TypeError):
        Priority(priority_key=1.5)  # pyright: ignore[reportArgumentType]


def test_deployment_version_text() -> None:
    version = WorkerDeploymentVersion("orders", "1.2.3")
    assert version.to_canonical_string() == "orders.1.2.3"
    assert WorkerDeploymentVersion.from_canonical_string("orders.1.2.3") == version
    with pytest.raises(InvalidArgumentError, match="must be in format"):
        WorkerDeploymentVersion.from_canonical_string("orders")


# -- Payload --

payloads = st.builds(
    Payload, st.dictionaries(st.text(max_size=5), st.binary(max_size=200), max_size=3), st.binary()
)


@given(payloads)
def test_payload_survives_protobuf_bytes_and_pickle(payload: Payload) -> None:
    assert Payload.FromString(payload.SerializeToString()) == payload
    raw = RawValue(payload)
    assert pickle.loads(pickle.dumps(raw)) == raw


def test_payload_bytes_are_those_of_the_protobuf_message() -> None:
    payload = Payload({"encoding": b"json/plain"}, b'"x"')
    expected = b'\n\x16\n\x08encoding\x12\njson/plain\x12\x03"x"'
    assert payload.SerializeToString() == expected


@given(st.binary(max_size=30))
def test_payload_bytes_that_are_garbage_are_refused_or_read(data: bytes) -> None:
    try:
        payload = Payload.FromString(data)
    except ConversionError:
        return
    assert isinstance(payload, Payload)


@pytest.mark.parametrize("data", [b"\x12\x05ab", b"\x08\x01", b"\x12", b"\x0a\x03\x0a\x01\xff"])
def test_payload_bytes_that_end_early_or_have_other_fields_are_refused(data: bytes) -> None:
    with pytest.raises(ConversionError, match="malformed bytes"):
        Payload.FromString(data)


# -- Search attributes --

TEXT = SearchAttributeKey.for_text("Text")
COUNT = SearchAttributeKey.for_int("Count")
TAGS = SearchAttributeKey.for_keyword_list("Tags")


@pytest.mark.parametrize(
    ("make", "metadata_type", "origin"),
    [
        (SearchAttributeKey.for_text, "Text", str),
        (SearchAttributeKey.for_keyword, "Keyword", str),
        (SearchAttributeKey.for_int, "Int", int),
        (SearchAttributeKey.for_float, "Double", float),
        (SearchAttributeKey.for_bool, "Bool", bool),
        (SearchAttributeKey.for_datetime, "Datetime", datetime),
        (SearchAttributeKey.for_keyword_list, "KeywordList", Sequence),
    ],
)
def test_search_attribute_keys(
    make: Callable[[str], SearchAttributeKey[Any]], metadata_type: str, origin: type
) -> None:
    key = make("Name")
    assert key.name == "Name"
    assert key.metadata_type == metadata_type
    assert issubclass(key.origin_value_type, origin)
    assert SearchAttributeKey.from_metadata_type("Name", metadata_type) == key
    screaming = f"INDEXED_VALUE_TYPE_{key.indexed_value_type.name}"
    assert SearchAttributeKey.from_metadata_type("Name", screaming) == key


def test_unknown_metadata_type_has_no_key() -> None:
    assert SearchAttributeKey.from_metadata_type("Name", "Geo") is None


def test_search_attribute_updates() -> None:
    assert (COUNT.value_set(3).key, COUNT.value_set(3).value) == (COUNT, 3)
    assert COUNT.value_unset().value is None


def test_typed_search_attributes_behave_like_a_sorted_mapping() -> None:
    attributes = TypedSearchAttributes(
        [SearchAttributePair(TEXT, "x"), SearchAttributePair(COUNT, 0)]
    )
    assert [pair.key.name for pair in attributes] == ["Count", "Text"]
    assert len(attributes) == 2
    assert attributes[COUNT] == 0
    assert COUNT in attributes
    assert SearchAttributeKey.for_float("Count") not in attributes
    assert attributes.get(TAGS) is None
    assert attributes.get(TAGS, ["none"]) == ["none"]
    with pytest.raises(KeyError, match="Tags"):
        attributes[TAGS]
    updated = attributes.updated(SearchAttributePair(COUNT, 5), SearchAttributePair(TAGS, ["a"]))
    assert (updated[COUNT], updated[TAGS], updated[TEXT]) == (5, ["a"], "x")
    assert attributes[COUNT] == 0
    assert len(TypedSearchAttributes.empty) == 0
    assert COUNT.indexed_value_type is SearchAttributeIndexedValueType.INT


def test_duplicate_search_attributes_are_refused() -> None:
    with pytest.raises(InvalidArgumentError, match="key Count"):
        TypedSearchAttributes([SearchAttributePair(COUNT, 1), SearchAttributePair(COUNT, 2)])


# -- Arguments --


def test_arg_or_args() -> None:
    assert arg_or_args(ARG_UNSET, [1, 2]) == [1, 2]
    assert arg_or_args(None, []) == [None]
    with pytest.raises(InvalidArgumentError, match="Cannot have arg and args"):
        arg_or_args(1, [2])


class Callables:
    def method(self, count: int, when: datetime | None = None) -> str:
        return f"{count}{when}"

    def __call__(self, text: str) -> bytes:
        return text.encode()

    def untyped(self, count, text: str):  # type: ignore[no-untyped-def]
        return count, text

    def keyword_only(self, *, text: str) -> None:
        del text


@pytest.mark.parametrize(
    ("func", "expected"),
    [
        (Callables.method, ([int, datetime | None], str)),
        (Callables().method, ([int, datetime | None], str)),
        (Callables(), ([str], bytes)),
        (Callables.untyped, (None, None)),
        (Callables.keyword_only, (None, type(None))),
    ],
)
def test_type_hints_from_func(func: Callable[..., Any], expected: tuple[Any, Any]) -> None:
    assert type_hints_from_func(func) == expected


# -- Metrics --


def test_noop_meter_takes_every_measurement() -> None:
    meter = MetricMeter.noop.with_additional_attributes({"tenant": "a"})
    counter = meter.create_counter("orders", "Orders taken", "1")
    assert (counter.name, counter.description, counter.unit) == ("orders", "Orders taken", "1")
    assert counter.with_additional_attributes({"kind": 1}) is counter
    counter.add(1)
    meter.create_histogram("h").record(1)
    meter.create_histogram_float("h").record(1.5)
    meter.create_histogram_timedelta("h").record(seconds(1))
    meter.create_gauge("g").set(1)
    meter.create_gauge_float("g").set(1.5)


def test_search_attribute_values_are_kept_as_given() -> None:
    when = datetime(2020, 1, 2, tzinfo=UTC)
    key = SearchAttributeKey.for_datetime("When")
    assert TypedSearchAttributes([SearchAttributePair(key, when)])[key] is when
