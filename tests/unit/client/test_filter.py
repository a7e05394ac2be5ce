"""List filters: what is supported is read exactly, all else is refused by name."""

import pytest

from hotmesh.client._filter import parse_filter
from hotmesh.exceptions import InvalidArgumentError


@pytest.mark.parametrize("query", [None, "", "  "])
def test_nothing_matches_all(query: str | None) -> None:
    runs = parse_filter("n", query).runs
    assert (runs.namespace, runs.workflow_type, runs.workflow_id, runs.status) == ("n", "", "", 0)
    assert runs.attributes == {}


def test_all_terms_at_once() -> None:
    parsed = parse_filter(
        "n",
        'WorkflowType = \'Order\' AND WorkflowId="a\'b" and ExecutionStatus = "ContinuedAsNew" '
        "AND TaskQueue='q' AND `Customer Id` = 'c''1' AND n = -3 AND f = 1.5 AND b = TRUE",
    )
    assert parsed.runs.workflow_type == "Order"
    assert parsed.runs.workflow_id == "a'b"
    assert parsed.runs.status == 6
    assert parsed.task_queue == "q"
    assert parsed.runs.attributes == {
        "Customer Id": b'"c\'1"',
        "n": b"-3",
        "f": b"1.5",
        "b": b"true",
    }


@pytest.mark.parametrize("name", ["Running", "running", "RUNNING"])
def test_a_status_in_any_case(name: str) -> None:
    assert parse_filter("n", f"ExecutionStatus='{name}'").runs.status == 1


@pytest.mark.parametrize("name", ["TIMED_OUT", "TimedOut"])
def test_a_status_of_two_words(name: str) -> None:
    assert parse_filter("n", f"ExecutionStatus='{name}'").runs.status == 7


def test_terms_that_contradict_match_nothing() -> None:
    assert parse_filter("n", "WorkflowType='A' AND WorkflowType='B'").nothing
    assert not parse_filter("n", "WorkflowType='A' AND WorkflowType='A'").nothing


def test_counting_by_status() -> None:
    assert parse_filter("n", "GROUP BY ExecutionStatus").by_status
    parsed = parse_filter("n", "TaskQueue = 'q' GROUP BY ExecutionStatus")
    assert parsed.by_status
    assert parsed.task_queue == "q"


@pytest.mark.parametrize(
    ("query", "named"),
    [
        ("WorkflowType = 'A' OR WorkflowType = 'B'", "OR"),
        ("WorkflowType != 'A'", "WorkflowType !="),
        ("StartTime > '2020-01-01'", "StartTime >"),
        ("StartTime = '2020-01-01'", "StartTime"),
        ("RunId = 'x'", "RunId"),
        ("WorkflowId STARTS_WITH 'a'", "WorkflowId STARTS_WITH"),
        ("(WorkflowId = 'a')", r"\("),
        ("WorkflowId = ", "the end"),
        ("WorkflowId = 3", "WorkflowId = 3"),
        ("WorkflowId = 'a' AND", "AND"),
        ("ExecutionStatus = 'Happy'", "Happy"),
        ("ExecutionStatus = 1", "1"),
        ("WorkflowId = 'a' GROUP BY WorkflowType", "WorkflowType"),
        ("x = 'unclosed", "unclosed"),
        ("x = 1x", "1x"),
        ("x = word", "x = word"),
        ("'a' = 'b'", "'a'"),
    ],
)
def test_the_rest_is_refused_by_name(query: str, named: str) -> None:
    with pytest.raises(InvalidArgumentError, match=named):
        parse_filter("n", query)
