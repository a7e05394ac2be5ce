"""What a run leaves in its record and tells the world, and how it goes on as a new run."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from types import ModuleType
from typing import Any

import orjson
import pytest

from hotmesh import workflow
from hotmesh.common import RetryPolicy, SearchAttributeKey, TypedSearchAttributes
from hotmesh.common import SearchAttributeIndexedValueType as Indexed
from hotmesh.common import SearchAttributePair as Pair
from hotmesh.core import kinds
from hotmesh.engine import wire
from hotmesh.engine.attributes import record_of, search_document
from hotmesh.exceptions import (
    ConversionError,
    InvalidArgumentError,
    PayloadTooLargeError,
)
from unit.engine.driving import Driven, fired, kinds_of, options_of, values

WORD = SearchAttributeKey.for_keyword("word")
COUNT = SearchAttributeKey.for_int("count")
SHARE = SearchAttributeKey.for_float("share")
FLAG = SearchAttributeKey.for_bool("flag")
WHEN = SearchAttributeKey.for_datetime("when")
WORDS = SearchAttributeKey.for_keyword_list("words")
TEXT = SearchAttributeKey.for_text("text")
NOON = datetime(2026, 1, 2, 12, tzinfo=timezone(timedelta(hours=2)))


def packed(value: Any) -> str:
    return wire.pack_bytes(values(value))


@pytest.mark.parametrize(
    ("call", "kind"),
    [
        (workflow.enrich, kinds.ENRICH),
        (workflow.emit, kinds.EMIT),
        (workflow.trace, kinds.TRACE),
    ],
)
def test_each_effect_is_one_command_with_its_values(call: Any, kind: int, core: ModuleType) -> None:
    async def code() -> None:
        call({"a": {"b": [1, None]}, "c": 1.5})

    run = Driven(code, core=core)
    effect, _ = run.start()
    assert effect[:5] == (kind, 0, 0, "", b"")
    assert orjson.loads(effect[5]) == {"a": {"b": [1, None]}, "c": 1.5}
    assert run.replayed().instance.closed


@pytest.mark.parametrize("call", [workflow.enrich, workflow.emit, workflow.trace])
def test_an_effect_that_can_not_be_stored_is_refused(call: Any) -> None:
    async def code() -> None:
        with pytest.raises(InvalidArgumentError, match="name"):
            call({"": 1})
        with pytest.raises(InvalidArgumentError, match="must be JSON"):
            call({"a": object()})
        with pytest.raises(PayloadTooLargeError, match="values of"):
            call({"a": "x" * 200})

    assert kinds_of(Driven(code, payload_limit=100).start()) == ["COMPLETE"]


def test_an_event_under_a_topic_that_is_none_is_not_published_nor_its_neighbours() -> None:
    async def code() -> None:
        with pytest.raises(InvalidArgumentError):
            workflow.emit({"fine": 1, "not a topic": 2})

    assert kinds_of(Driven(code).start()) == ["COMPLETE"]


# The memo


def test_a_memo_can_be_read_changed_and_removed() -> None:
    async def code() -> list[Any]:
        assert workflow.memo() == {"a": 1, "b": [2]}
        assert workflow.memo_value("b", type_hint=list[int]) == [2]
        assert workflow.memo_value("c", "default") == "default"
        with pytest.raises(KeyError, match="does not have a value for key c"):
            workflow.memo_value("c")
        workflow.upsert_memo({"a": None, "b": 3, "c": 4, "none": None})
        assert sorted(workflow.info().raw_memo) == ["b", "c"]
        return [workflow.memo_value("b"), workflow.memo()]

    run = Driven(code, header={"memo": {"a": packed(1), "b": packed([2])}})
    upsert, _ = run.start()
    assert upsert[:4] == (kinds.UPSERT, 0, 0, "memo")
    assert orjson.loads(upsert[5]) == {"a": None, "b": packed(3), "c": packed(4), "none": None}
    assert run.outcome() == [3, {"b": 3, "c": 4}]


def test_a_memo_that_can_not_be_stored_leaves_the_old_one() -> None:
    async def code() -> dict[str, Any]:
        with pytest.raises(InvalidArgumentError, match="memo name"):
            workflow.upsert_memo({"": 1})
        with pytest.raises(ConversionError, match="memo field 'a'"):
            workflow.upsert_memo({"a": object()})
        with pytest.raises(PayloadTooLargeError, match="memo"):
            workflow.upsert_memo({str(number): number for number in range(20)})
        return dict(workflow.memo())

    run = Driven(code, header={"memo": {"a": packed(1)}}, payload_limit=100)
    assert kinds_of(run.start()) == ["COMPLETE"]
    assert run.outcome() == {"a": 1}


# Search attributes


def test_search_attributes_are_changed_by_typed_keys() -> None:
    async def code() -> None:
        workflow.upsert_search_attributes(
            [
                WORD.value_set("x"),
                COUNT.value_set(1),
                SHARE.value_set(0.5),
                FLAG.value_set(True),
                WHEN.value_set(NOON),
                WORDS.value_set(["a", "b"]),
                TEXT.value_set("long"),
            ]
        )
        found = workflow.info().typed_search_attributes
        assert found[WHEN] == NOON
        assert (found[WORD], found[COUNT], found[WORDS]) == ("x", 1, ["a", "b"])
        assert workflow.info().search_attributes == {
            "word": ["x"],
            "count": [1],
            "share": [0.5],
            "flag": [True],
            "when": [NOON],
            "words": ["a", "b"],
            "text": ["long"],
        }
        workflow.upsert_search_attributes([WORD.value_unset()])
        assert "word" not in workflow.info().search_attributes

    first, second, _ = Driven(code).start()
    assert first[:4] == (kinds.UPSERT, 0, 0, "search")
    assert orjson.loads(first[5]) == {
        "word": [int(Indexed.KEYWORD), "x"],
        "count": [int(Indexed.INT), 1],
        "share": [int(Indexed.DOUBLE), 0.5],
        "flag": [int(Indexed.BOOL), True],
        "when": [int(Indexed.DATETIME), "2026-01-02T10:00:00+00:00"],
        "words": [int(Indexed.KEYWORD_LIST), ["a", "b"]],
        "text": [int(Indexed.TEXT), "long"],
    }
    assert orjson.loads(second[5]) == {"word": None}


def test_search_attributes_in_the_older_form_are_typed_by_their_values() -> None:
    async def code() -> None:
        workflow.upsert_search_attributes(
            {
                "word": ["x"],
                "count": [1],
                "share": [0.5],
                "flag": [True],
                "when": [datetime(2026, 1, 2, tzinfo=UTC)],
                "words": ["a", 2],
                "gone": [],
            }
        )
        assert workflow.info().search_attributes["when"] == [datetime(2026, 1, 2, tzinfo=UTC)]

    command, _ = Driven(code, header={"sa": {"gone": [2, "x"]}}).start()
    assert orjson.loads(command[5]) == {
        "word": [int(Indexed.KEYWORD), "x"],
        "count": [int(Indexed.INT), 1],
        "share": [int(Indexed.DOUBLE), 0.5],
        "flag": [int(Indexed.BOOL), True],
        "when": [int(Indexed.DATETIME), "2026-01-02T00:00:00+00:00"],
        "words": [int(Indexed.KEYWORD_LIST), ["a", "2"]],
        "gone": None,
    }


def test_search_attributes_that_can_not_be_stored_leave_the_old_ones() -> None:
    async def code() -> None:
        with pytest.raises(InvalidArgumentError, match="search attribute name"):
            workflow.upsert_search_attributes({"": ["x"]})
        with pytest.raises(InvalidArgumentError, match="search attribute name"):
            workflow.upsert_search_attributes([SearchAttributeKey.for_int("").value_set(1)])
        with pytest.raises(PayloadTooLargeError, match="search attributes"):
            workflow.upsert_search_attributes([WORD.value_set("x" * 200)])
        unfit: Any = object()
        with pytest.raises(InvalidArgumentError, match="search attributes must be JSON"):
            workflow.upsert_search_attributes([WORD.value_set(unfit)])
        assert workflow.info().search_attributes == {"word": ["old"]}

    header = {"sa": {"word": [int(Indexed.KEYWORD), "old"]}}
    assert kinds_of(Driven(code, header=header, payload_limit=100).start()) == ["COMPLETE"]


def test_attributes_of_a_start_become_a_document_and_a_record() -> None:
    typed = search_document(TypedSearchAttributes([Pair(WHEN, NOON), Pair(COUNT, 3)]))
    untyped = search_document({"when": [NOON], "count": [3], "none": []})
    assert typed["when"] == [int(Indexed.DATETIME), "2026-01-02T10:00:00+00:00"]
    assert untyped["when"] == typed["when"]
    assert untyped["none"] == [int(Indexed.KEYWORD), ""]
    assert search_document(None) == search_document({}) == {}
    assert dict(record_of(typed)) == {"when": b'"2026-01-02T10:00:00+00:00"', "count": b"3"}
    naive = search_document({"when": [datetime(2026, 1, 2)]})  # noqa: DTZ001 - as users give it
    assert naive["when"] == [int(Indexed.DATETIME), "2026-01-02T00:00:00"]


@pytest.mark.parametrize("number", [0, 99])
def test_an_attribute_of_a_type_that_nobody_knows_is_named(number: int) -> None:
    async def code() -> None:
        workflow.info()

    with pytest.raises(ValueError, match=f"search attribute 'odd' has the unknown type {number}"):
        Driven(code, header={"sa": {"odd": [number, 1]}}).start()


# Continue as new


def test_the_next_run_gets_its_arguments_and_an_id_that_a_replay_finds_again() -> None:
    async def code(count: int) -> None:
        workflow.continue_as_new(count + 1)

    run = Driven(code, 1)
    (command,) = run.start()
    assert command[:5] == (kinds.CONTINUE, 0, 0, "code", b"{}")
    assert command[5][16:] == values(2)
    assert Driven(code, 1).start() == [command]
    assert Driven(code, 1, run_id=b"y" * 16).start() != [command]
    assert run.replayed().instance.closed


def test_what_the_next_run_is_to_have_is_in_the_document() -> None:
    async def code() -> None:
        workflow.continue_as_new(
            args=[1, 2],
            workflow="Other",
            task_queue="others",
            run_timeout=30,
            task_timeout=timedelta(seconds=5),
            backoff_start_interval=1.5,
            retry_policy=RetryPolicy(maximum_attempts=2),
            memo={"m": 1},
            search_attributes=TypedSearchAttributes([Pair(COUNT, 7)]),
        )

    (command,) = Driven(code, header={"memo": {"old": packed(0)}}).start()
    assert (command[3], command[5][16:]) == ("Other", values(1, 2))
    assert options_of(command) == {
        "run": 30_000,
        "task": 5_000,
        "retry": {"i": 1000, "c": 2.0, "a": 2},
        "memo": {"m": packed(1)},
        "sa": {"count": [int(Indexed.INT), 7]},
        "q": "others",
        "delay": 1500,
    }


def test_memo_and_attributes_as_they_are_now_are_carried_over() -> None:
    async def code() -> None:
        workflow.upsert_memo({"a": None, "b": 2})
        workflow.upsert_search_attributes([WORD.value_unset(), COUNT.value_set(1)])
        workflow.continue_as_new()

    header = {"memo": {"a": packed(1)}, "sa": {"word": [int(Indexed.KEYWORD), "x"]}}
    command = Driven(code, header=header).start()[-1]
    assert options_of(command) == {"memo": {"b": packed(2)}, "sa": {"count": [int(Indexed.INT), 1]}}


def test_what_the_run_has_removed_does_not_come_back_from_its_start() -> None:
    async def code() -> None:
        workflow.upsert_memo({"a": None})
        workflow.upsert_search_attributes([WORD.value_unset()])
        workflow.continue_as_new()

    header = {"memo": {"a": packed(1)}, "sa": {"word": [int(Indexed.KEYWORD), "x"]}}
    command = Driven(code, header=header).start()[-1]
    assert options_of(command) == {"memo": {}, "sa": {}}


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"task_queue": ""}, InvalidArgumentError, "task queue"),
        ({"backoff_start_interval": -1}, InvalidArgumentError, "backoff_start_interval"),
        ({"workflow": ""}, InvalidArgumentError, "workflow type"),
        ({"args": [object()]}, ConversionError, "arguments of workflow 'code'"),
        ({"args": ["x" * 200]}, PayloadTooLargeError, "arguments of workflow 'code'"),
        ({"memo": {"a": "x" * 200}}, PayloadTooLargeError, "options of workflow 'code'"),
    ],
)
def test_a_next_run_that_can_not_be_is_refused(
    options: dict[str, Any], error: type[Exception], text: str
) -> None:
    async def code() -> None:
        with pytest.raises(error, match=text):
            workflow.continue_as_new(**options)

    assert kinds_of(Driven(code, payload_limit=100).start()) == ["COMPLETE"]


def test_a_run_that_continues_as_new_later_ends_then() -> None:
    async def code() -> None:
        await workflow.sleep(1)
        workflow.continue_as_new()

    run = Driven(code)
    run.start()
    assert kinds_of(run.give(fired(1), at=1)) == ["CONTINUE"]
    assert not run.is_open
