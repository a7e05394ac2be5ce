"""Queries: what is supported is read exactly, all else is refused by name."""

from datetime import UTC, datetime
from typing import Any

import pytest

from hotmesh.common import SearchAttributeKey, search_attributes
from hotmesh.exceptions import InvalidArgumentError
from hotmesh.visibility import (
    AllOf,
    AnyOf,
    AttributeIs,
    Condition,
    Field,
    FieldIs,
    check_names,
    parse_query,
)


@pytest.fixture(autouse=True)
def nothing_declared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search_attributes, "_declared", {})


def where(text: str) -> Condition | None:
    return parse_query(text).where


@pytest.mark.parametrize("text", [None, "", "  "])
def test_nothing_matches_all(text: str | None) -> None:
    assert parse_query(text).where is None


def test_all_terms_at_once() -> None:
    found = where(
        'WorkflowType = \'Order\' AND WorkflowId="a\'b" and ExecutionStatus = "ContinuedAsNew" '
        "AND TaskQueue='q' AND `Customer Id` = 'c''1' AND n = -3 AND f = 1.5 AND b = TRUE",
    )
    assert found == AllOf(
        (
            FieldIs(Field.WORKFLOW_TYPE, "Order"),
            FieldIs(Field.WORKFLOW_ID, "a'b"),
            FieldIs(Field.STATUS, 6),
            FieldIs(Field.TASK_QUEUE, "q"),
            AttributeIs("Customer Id", "c'1"),
            AttributeIs("n", -3),
            AttributeIs("f", 1.5),
            AttributeIs("b", True),
        )
    )


def test_and_binds_closer_than_or() -> None:
    a, b, c = (AttributeIs(name, 1) for name in "abc")
    assert where("a = 1 OR b = 1 AND c = 1") == AnyOf((a, AllOf((b, c))))
    assert where("(a = 1 OR b = 1) AND c = 1") == AllOf((AnyOf((a, b)), c))


def test_a_value_among_several() -> None:
    assert where("n IN (1, 'x', true)") == AnyOf(
        (AttributeIs("n", 1), AttributeIs("n", "x"), AttributeIs("n", True))
    )


@pytest.mark.parametrize("name", ["Running", "running", "RUNNING"])
def test_a_status_in_any_case(name: str) -> None:
    assert where(f"ExecutionStatus='{name}'") == FieldIs(Field.STATUS, 1)


@pytest.mark.parametrize("name", ["TIMED_OUT", "TimedOut"])
def test_a_status_of_two_words(name: str) -> None:
    assert where(f"ExecutionStatus='{name}'") == FieldIs(Field.STATUS, 7)


def test_counting_by_status() -> None:
    assert parse_query("GROUP BY ExecutionStatus").by_status
    query = parse_query("TaskQueue = 'q' GROUP BY ExecutionStatus")
    assert query.by_status
    assert query.where == FieldIs(Field.TASK_QUEUE, "q")


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("NOT WorkflowType = 'A'", "NOT"),
        ("WorkflowType != 'A'", "WorkflowType !="),
        ("StartTime > '2020-01-01'", "StartTime >"),
        ("StartTime = '2020-01-01'", "StartTime"),
        ("RunId = 'x'", "RunId"),
        ("WorkflowId STARTS_WITH 'a'", "WorkflowId STARTS_WITH"),
        ("WorkflowId = 'a' ORDER BY StartTime", "ORDER"),
        ("(WorkflowId = 'a'", r"the end where \)"),
        ("WorkflowId IN 'a'", "WorkflowId IN 'a'"),
        ("n IN (1 2)", "2 after a value of n IN"),
        ("n IN ()", r"n = \)"),
        ("WorkflowId = ", "the end"),
        ("WorkflowId = 3", "WorkflowId = 3"),
        ("WorkflowId = 'a' AND", "the end"),
        ("ExecutionStatus = 'Happy'", "Happy"),
        ("ExecutionStatus = 1", "1"),
        ("WorkflowId = 'a' GROUP BY WorkflowType", "WorkflowType"),
        ("x = 'unclosed", "unclosed"),
        ("x = 1x", "1x"),
        ("x = word", "x = word"),
        ("'a' = 'b'", "'a'"),
    ],
)
def test_the_rest_is_refused_by_name(text: str, named: str) -> None:
    with pytest.raises(InvalidArgumentError, match=named):
        parse_query(text)


NOON = datetime(2026, 1, 1, 12, tzinfo=UTC).isoformat()


@pytest.mark.parametrize("text", ["2026-01-01T12:00:00Z", "2026-01-01T13:00:00+01:00", NOON])
def test_a_time_is_compared_in_the_one_form_that_is_stored(text: str) -> None:
    SearchAttributeKey.for_datetime("Due")
    assert where(f"Due = '{text}'") == AttributeIs("Due", NOON)


def test_a_text_may_be_a_time_where_no_type_is_known() -> None:
    assert where("x = '2026-01-01T12:00:00Z'") == AnyOf(
        (AttributeIs("x", "2026-01-01T12:00:00Z"), AttributeIs("x", NOON))
    )
    assert where("x = '2026-01-01'") == AttributeIs("x", "2026-01-01")
    SearchAttributeKey.for_keyword("x")
    assert where("x = '2026-01-01T12:00:00Z'") == AttributeIs("x", "2026-01-01T12:00:00Z")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        (SearchAttributeKey.for_int, "'5'"),
        (SearchAttributeKey.for_float, "true"),
        (SearchAttributeKey.for_bool, "1"),
        (SearchAttributeKey.for_keyword, "5"),
        (SearchAttributeKey.for_text, "true"),
        (SearchAttributeKey.for_keyword_list, "1"),
        (SearchAttributeKey.for_datetime, "'soon'"),
        (SearchAttributeKey.for_datetime, "'2026-01-01T12:00:00'"),
    ],
)
def test_a_value_of_another_type_than_declared_is_refused(key: Any, value: str) -> None:
    kind = key("Typed").indexed_value_type.name
    with pytest.raises(InvalidArgumentError, match=f"Typed is declared as {kind}"):
        parse_query(f"Typed = {value}")


def test_a_name_that_nobody_wrote_is_refused_with_near_ones() -> None:
    written = {"Customer", "CustomerId", "n", "Colour"}
    with pytest.raises(InvalidArgumentError, match=r"customer in a filter.*mean Customer, Cust"):
        check_names({"customer", "n"}, written)
    check_names({"Customer", "n"}, written)
    SearchAttributeKey.for_keyword("customer")
    check_names({"customer"}, written)  # declared, but not yet written
