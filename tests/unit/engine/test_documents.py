"""Options, names, durations and documents as they travel, and what is refused of them."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

import pytest

from hotmesh.common import Payload, Priority, RawValue, RetryPolicy
from hotmesh.engine import wire
from hotmesh.engine.definition import (
    WorkflowDefinition,
    check_argument_count,
    takes_raw_values,
    type_hints_of,
)
from hotmesh.engine.options import (
    checked_name,
    checked_text,
    milliseconds,
    refuse_cron,
    refuse_priority,
    retry_document,
    retry_policy,
)
from hotmesh.exceptions import InvalidArgumentError, UnsupportedOptionError
from hotmesh.limits import DURATION_SECONDS_MAX, NAME_BYTES_MAX


class Text(str):
    """A text that says other things of itself."""

    def __eq__(self, other: object) -> bool:
        return False

    __hash__ = str.__hash__

    def __str__(self) -> str:
        return "not this"


@pytest.mark.parametrize(
    ("given", "ms"),
    [
        (None, None),
        (0, 0),
        (1, 1000),
        (0.0004, 1),
        (1.2345, 1234),
        (timedelta(minutes=1), 60_000),
        (timedelta(0), 0),
    ],
)
def test_a_duration_is_whole_milliseconds(given: Any, ms: int | None) -> None:
    assert milliseconds(given, "it") == ms


@pytest.mark.parametrize(
    "given", [-1, timedelta(seconds=-1), DURATION_SECONDS_MAX, float("inf"), float("nan")]
)
def test_a_duration_has_an_end_and_no_sign(given: Any) -> None:
    with pytest.raises(InvalidArgumentError, match="it must not be negative or endless"):
        milliseconds(given, "it")


@pytest.mark.parametrize("given", ["1", True, [1], object()])
def test_what_is_no_duration_is_refused(given: Any) -> None:
    with pytest.raises(InvalidArgumentError, match="it must be a timedelta or seconds"):
        milliseconds(given, "it")


@pytest.mark.parametrize("given", ["a", "x" * NAME_BYTES_MAX, "é" * (NAME_BYTES_MAX // 2), " "])
def test_a_name_is_kept_as_it_is(given: str) -> None:
    assert checked_name(given, "name") == given
    assert checked_text(given, "text") == given


def test_a_subclass_of_text_becomes_its_text() -> None:
    found = checked_name(Text("this"), "name")
    assert (type(found), found) == (str, "this")


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ("", "must not be empty"),
        ("a\0b", "holds a NUL character"),
        ("x" * (NAME_BYTES_MAX + 1), f"is {NAME_BYTES_MAX + 1} bytes long"),
        ("é" * (NAME_BYTES_MAX // 2 + 1), "bytes long, the limit is"),
        ("\ud800", "is not valid Unicode"),
        (3, "must be text, not int"),
        (None, "must be text, not NoneType"),
        (b"a", "must be text, not bytes"),
    ],
)
def test_what_is_no_name_is_refused(given: object, text: str) -> None:
    with pytest.raises(InvalidArgumentError, match=f"my name.*{text}"):
        checked_name(given, "my name")


def test_text_for_people_has_any_length_but_is_text() -> None:
    assert checked_text("x" * 10 * NAME_BYTES_MAX, "text")
    assert checked_text("", "text") == ""
    for wrong in (3, "\ud800"):
        with pytest.raises(InvalidArgumentError, match="text"):
            checked_text(wrong, "text")


def test_options_without_meaning_are_refused_by_name() -> None:
    refuse_cron("", "it")
    refuse_priority(None, "it")
    refuse_priority(Priority.default, "it")
    with pytest.raises(UnsupportedOptionError, match="cron_schedule"):
        refuse_cron("* * * * *", "it")
    with pytest.raises(UnsupportedOptionError, match=r"priority\.fairness_key"):
        refuse_priority(Priority(fairness_key="x"), "it")


@pytest.mark.parametrize(
    "policy",
    [
        RetryPolicy(),
        RetryPolicy(maximum_attempts=3, non_retryable_error_types=["A", "B"]),
        RetryPolicy(
            initial_interval=timedelta(milliseconds=5),
            backoff_coefficient=1.0,
            maximum_interval=timedelta(seconds=9),
        ),
    ],
)
def test_a_retry_policy_comes_back_as_it_was(policy: RetryPolicy) -> None:
    assert retry_policy(retry_document(policy, "it")) == policy


def test_no_policy_is_none_and_a_wrong_one_is_refused() -> None:
    assert retry_document(None, "it") is None
    assert retry_policy(None) is None
    wrong: Any = {"maximum_attempts": 3}
    with pytest.raises(InvalidArgumentError, match="it: retry_policy must be a RetryPolicy"):
        retry_document(wrong, "it")
    with pytest.raises(InvalidArgumentError, match="it: invalid retry policy"):
        retry_document(RetryPolicy(backoff_coefficient=0.5), "it")


# Documents


def test_a_document_that_says_nothing_takes_no_place() -> None:
    assert wire.dump({}) == b""
    assert wire.load(b"") == {}
    assert wire.load(wire.dump({"a": [1, None]})) == {"a": [1, None]}
    assert wire.join_document({}, b"body") == b"body"
    assert wire.split_document(b"body") == ({}, b"body")


@pytest.mark.parametrize("body", [b"", b"body", b"H", b"H\0\0"])
def test_a_document_in_front_of_a_body_comes_off_again(body: bytes) -> None:
    document = {"h": {"a": 1}}
    assert wire.split_document(wire.join_document(document, body)) == (document, body)


def test_headers_come_back_as_they_were() -> None:
    headers = {"a": Payload(metadata={"encoding": b"\xff"}, data=b"\0"), "b": Payload({}, b"")}
    assert wire.unpack_headers(wire.pack_headers(headers)) == headers


def test_run_ids_are_ordered_by_time_and_read_back() -> None:
    ids = [wire.new_run_id() for _ in range(200)]
    assert len(set(ids)) == 200
    assert [each[:6] for each in ids] == sorted(each[:6] for each in ids)
    text = wire.run_id_text(ids[0])
    assert text[14] == "7"
    assert wire.run_id_bytes(text) == ids[0]


def test_a_forked_process_draws_run_ids_of_its_own() -> None:
    wire.new_run_id()  # more are drawn ahead
    pipe_in, pipe_out = os.pipe()
    child = os.fork()
    if not child:
        os.write(pipe_out, b"".join(wire.new_run_id() for _ in range(50)))
        os._exit(0)
    os.waitpid(child, 0)
    theirs = os.read(pipe_in, 50 * 16)
    os.close(pipe_in)
    os.close(pipe_out)
    tails = {theirs[at + 8 : at + 16] for at in range(0, len(theirs), 16)}
    assert len(tails) == 50
    assert tails.isdisjoint(wire.new_run_id()[8:] for _ in range(300))


@pytest.mark.parametrize("text", ["", "no id", "aa", None, 3, "0" * 34])
def test_what_names_no_run_is_no_id(text: Any) -> None:
    assert wire.run_id_bytes(text) == b""


# Definitions


def plain(a: int, b: str = "", *rest: Any, c: int = 0) -> str:
    return f"{a}{b}{rest}{c}"


def untyped(a, b):
    return a, b


def partly(a: int, b) -> None:
    del a, b


def unknown(a: "NoSuchType") -> None:  # type: ignore[name-defined]  # noqa: F821, UP037
    del a


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (plain, ([int, str], str)),
        (untyped, (None, None)),
        (partly, ([int, Any], type(None))),
        (unknown, (None, None)),
        (print, (None, None)),
    ],
)
def test_what_a_function_takes_is_read_from_it(function: Any, expected: Any) -> None:
    assert type_hints_of(function, skip_self=False) == expected


@pytest.mark.parametrize(("count", "text"), [(0, "1 to 2 argument"), (3, "1 to 2 argument")])
def test_arguments_that_a_function_can_not_take_are_refused(count: int, text: str) -> None:
    def two(a: int, b: int = 0) -> None:
        del a, b

    for good in (1, 2):
        check_argument_count(two, good, "it")
    with pytest.raises(TypeError, match=f"it takes {text}.* but {count} were given"):
        check_argument_count(two, count, "it")


def test_a_function_that_takes_any_number_is_given_it() -> None:
    check_argument_count(plain, 9, "it")
    with pytest.raises(TypeError):
        check_argument_count(plain, 0, "it")
    check_argument_count(type, 9, "it")  # says nothing of itself


def test_raw_values_are_told_from_others() -> None:
    def raw(name: str, args: Sequence[RawValue]) -> None: ...
    def other(name: str, args: Sequence[int]) -> None: ...

    assert takes_raw_values(raw, is_method=False)
    assert not takes_raw_values(other, is_method=False)
    assert not takes_raw_values(untyped, is_method=False)


def test_a_function_is_a_workflow_if_it_is_a_coroutine_function() -> None:
    async def code(number: int) -> str:
        return str(number)

    definition = WorkflowDefinition.from_function(code, "named")
    assert (definition.name, definition.arg_types, definition.ret_type) == ("named", [int], str)
    assert definition.arity == (1, 1)
    with pytest.raises(TypeError, match="declared with 'async def'"):
        WorkflowDefinition.from_function(plain)
    assert WorkflowDefinition.of(code) is None
    assert WorkflowDefinition.of(int) is None


def test_wrong_targets_do_not_pass_for_callables() -> None:
    anything: Callable[..., Any] = print
    assert WorkflowDefinition.of(anything) is None
