"""Errors through a failure converter: every type, causes, codecs, and errors on the way."""

from __future__ import annotations

import base64
import pickle
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

import orjson
import pytest

from hotmesh.common import Payload
from hotmesh.converter import (
    DataConverter,
    DefaultFailureConverterWithEncodedAttributes,
    Failure,
    PayloadCodec,
    apply_codec_to_failure,
    decode_failure,
    encode_failure,
)
from hotmesh.converter.failure import CAUSE_DEPTH_MAX, CAUSES_LEFT_OUT, FAILURES_MAX
from hotmesh.exceptions import (
    ActivityError,
    ApplicationError,
    ApplicationErrorCategory,
    CancelledError,
    ChildWorkflowError,
    ConversionError,
    FailureError,
    RetryState,
    ServerError,
    TerminatedError,
    TimeoutError,  # noqa: A004 - the type under test
    TimeoutType,
)

DEFAULT = DataConverter.default
ENCODED = DataConverter(failure_converter_class=DefaultFailureConverterWithEncodedAttributes)

ERRORS: list[FailureError] = [
    FailureError("plain"),
    ApplicationError("no funds"),
    ApplicationError(
        "no funds",
        {"left": 3},
        b"raw",
        None,
        type="NoFunds",
        non_retryable=True,
        next_retry_delay=timedelta(milliseconds=1500),
        category=ApplicationErrorCategory.BENIGN,
    ),
    TimeoutError("late", type=TimeoutType.HEARTBEAT, last_heartbeat_details=[7, "x"]),
    TimeoutError("late", type=None, last_heartbeat_details=[]),
    CancelledError("stop", 1),
    CancelledError(),
    TerminatedError("killed", "why"),
    ServerError("broken", non_retryable=True),
    ActivityError(
        "Activity error",
        scheduled_event_id=5,
        started_event_id=6,
        identity="worker-1",
        activity_type="charge",
        activity_id="1",
        retry_state=RetryState.MAXIMUM_ATTEMPTS_REACHED,
    ),
    ChildWorkflowError(
        "Child workflow error",
        namespace="default",
        workflow_id="child-1",
        run_id="run-1",
        workflow_type="Child",
        initiated_event_id=3,
        started_event_id=4,
        retry_state=None,
    ),
]


def fields(error: BaseException) -> dict[str, Any]:
    shown = {name: value for name, value in vars(error).items() if name != "_failure"}
    for name in ("_details", "_last_heartbeat_details"):
        if name in shown:
            shown[name] = list(shown[name])
    return shown


def through(error: BaseException, converter: DataConverter = DEFAULT) -> Any:
    return decode_failure(converter, encode_failure(converter, error))


@pytest.mark.parametrize("converter", [DEFAULT, ENCODED])
@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_every_error_comes_back(error: FailureError, converter: DataConverter) -> None:
    read = through(error, converter)
    assert type(read) is type(error)
    assert str(read) == str(error)
    assert fields(read) == fields(error)
    assert isinstance(read.failure, Failure)
    assert through(read, converter).failure == read.failure
    copied = pickle.loads(pickle.dumps(read))
    assert copied.failure == read.failure


class UnluckyError(Exception):
    """An exception of user code."""


def raised(raise_it: Callable[[], None]) -> BaseException:
    try:
        raise_it()
    except Exception as error:
        return error
    raise AssertionError("it did not raise")


def test_other_exceptions_become_application_errors() -> None:
    def fail() -> None:
        raise UnluckyError("broke")

    read = through(raised(fail))
    assert isinstance(read, ApplicationError)
    assert (read.message, read.type, read.non_retryable) == ("broke", "UnluckyError", False)
    assert read.failure is not None
    assert "in fail" in read.failure.stack_trace


def raise_from() -> None:
    try:
        raise UnluckyError("first")
    except UnluckyError as error:
        raise ApplicationError("second", type="Second") from error


def raise_while_handling() -> None:
    try:
        raise UnluckyError("first")
    except UnluckyError:
        raise ApplicationError("second", type="Second")  # noqa: B904 - the implicit context


def raise_from_none() -> None:
    try:
        raise UnluckyError("first")
    except UnluckyError:
        raise ApplicationError("second", type="Second") from None


def test_causes_follow_pythons_rules() -> None:
    for cause in (through(raised(raise_from)).cause, through(raised(raise_while_handling)).cause):
        assert isinstance(cause, ApplicationError)
        assert (cause.message, cause.type) == ("first", "UnluckyError")
    assert through(raised(raise_from_none)).cause is None


def test_endless_causes_are_cut() -> None:
    first, second = UnluckyError("1"), UnluckyError("2")
    first.__cause__, second.__cause__ = second, first
    depth, error = 0, through(first)
    while error.__cause__ is not None:
        depth, error = depth + 1, error.__cause__
    assert depth == CAUSE_DEPTH_MAX + 1
    assert isinstance(error, ApplicationError)
    assert error.type == CAUSES_LEFT_OUT


def test_document_is_small_and_readable() -> None:
    document = orjson.loads(encode_failure(DEFAULT, ApplicationError("x", 1, type="T")))
    assert document == {
        "message": "x",
        "application_failure_info": {
            "type": "T",
            "details": [
                {
                    "metadata": {"encoding": base64.b64encode(b"json/plain").decode()},
                    "data": base64.b64encode(b"1").decode(),
                }
            ],
        },
    }


def test_fields_of_a_newer_version_are_skipped() -> None:
    assert str(decode_failure(DEFAULT, b'{"message":"x","novelty":{"a":1}}')) == "x"


@pytest.mark.parametrize(
    "data", [b"", b"{", b"5", b'{"cause":5}', b'{"application_failure_info":{"details":[5]}}']
)
def test_malformed_documents_are_refused(data: bytes) -> None:
    with pytest.raises(ConversionError, match="stored failure"):
        decode_failure(DEFAULT, data)


def test_unknown_enum_values_are_refused() -> None:
    with pytest.raises(ConversionError, match="stored failure"):
        decode_failure(DEFAULT, b'{"timeout_failure_info":{"timeout_type":99}}')


def test_details_that_cannot_be_stored_do_not_hide_the_error() -> None:
    read = through(ApplicationError("x", object()))
    assert isinstance(read, ApplicationError)
    assert "Failed building exception result" in read.message
    assert "of ApplicationError" in read.message


def test_messages_beyond_unicode_get_through() -> None:
    assert through(UnluckyError("a\ud800b")).message == "a?b"


# -- Codecs --


class Mask(PayloadCodec):
    """Not encryption, but as unreadable."""

    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        masked = [bytes(byte ^ 0xFF for byte in each.SerializeToString()) for each in payloads]
        return [Payload({"encoding": b"masked"}, data) for data in masked]

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        return [Payload.FromString(bytes(byte ^ 0xFF for byte in each.data)) for each in payloads]


async def test_codec_covers_details_and_causes() -> None:
    error = ApplicationError("top", "secret-1")
    error.__cause__ = CancelledError("below", "secret-2")
    data = encode_failure(DEFAULT, error)
    masked = await apply_codec_to_failure(Mask(), data, encode=True)
    document = Failure.from_json(masked)
    assert document.cause is not None
    for details in (document.details(), document.cause.details()):
        assert details is not None
        assert [each.metadata for each in details] == [{"encoding": b"masked"}]
    read = decode_failure(DEFAULT, await apply_codec_to_failure(Mask(), masked, encode=False))
    assert isinstance(read, ApplicationError)
    assert read.details == ("secret-1",)
    assert isinstance(read.cause, CancelledError)
    assert read.cause.details == ("secret-2",)


async def test_encoded_attributes_hide_message_and_trace_even_when_raised_again() -> None:
    error = raised(raise_from)
    for _ in range(2):
        data = encode_failure(ENCODED, error)
        masked = await apply_codec_to_failure(Mask(), data, encode=True)
        assert b"second" not in masked
        assert b"first" not in masked
        assert b"raise_from" not in masked
        assert Failure.from_json(masked).message == "Encoded failure"
        plain = await apply_codec_to_failure(Mask(), masked, encode=False)
        error = decode_failure(ENCODED, plain)
        assert isinstance(error, ApplicationError)
        assert error.message == "second"
        assert isinstance(error.cause, ApplicationError)
        assert error.cause.message == "first"


async def test_attributes_that_stay_encoded_do_not_stop_the_error() -> None:
    data = encode_failure(ENCODED, ApplicationError("x", type="T"))
    masked = await apply_codec_to_failure(Mask(), data, encode=True)
    read = decode_failure(ENCODED, masked)
    assert isinstance(read, ApplicationError)
    assert (read.message, read.type) == ("Encoded failure", "T")


async def test_data_converter_methods_apply_the_codec() -> None:
    converter = DataConverter(payload_codec=Mask())
    failure = Failure()
    await converter.encode_failure(ApplicationError("x", 1), failure)
    details = failure.details()
    assert details is not None
    assert details[0].metadata == {"encoding": b"masked"}
    read = await converter.decode_failure(failure)
    assert isinstance(read, ApplicationError)
    assert read.details == (1,)


# Groups


def members_of_members(error: BaseException) -> list[str | None]:
    assert isinstance(error, ApplicationError)
    if not error.members:
        return [error.type]
    return [name for member in error.members for name in members_of_members(member)]


@pytest.mark.parametrize("converter", [DEFAULT, ENCODED])
def test_the_members_of_a_group_are_kept_each_with_its_causes(converter: DataConverter) -> None:
    cause, first = KeyError("why"), ApplicationError("first", 7, type="First")
    first.__cause__ = cause
    group = ExceptionGroup("both", [first, ExceptionGroup("inner", [ValueError("second")])])
    error = decode_failure(converter, encode_failure(converter, group))
    assert isinstance(error, ApplicationError)
    assert (error.type, error.message) == ("ExceptionGroup", "both (2 sub-exceptions)")
    assert members_of_members(error) == ["First", "ValueError"]
    assert error.cause is error.members[0]
    member = error.members[0]
    assert isinstance(member, ApplicationError)
    assert isinstance(member.cause, ApplicationError)
    assert (list(member.details), member.cause.type) == ([7], "KeyError")
    again = decode_failure(converter, encode_failure(converter, error))
    assert members_of_members(again) == ["First", "ValueError"]
    assert members_of_members(pickle.loads(pickle.dumps(again))) == ["First", "ValueError"]


def test_a_cause_of_a_groups_own_stays_its_cause() -> None:
    group = ExceptionGroup("x", [ValueError("member")])
    group.__cause__ = KeyError("cause")
    error = decode_failure(DEFAULT, encode_failure(DEFAULT, group))
    assert isinstance(error, ApplicationError)
    assert isinstance(error.cause, ApplicationError)
    assert error.cause.type == "KeyError"
    assert members_of_members(error) == ["ValueError"]


def test_a_group_is_what_its_members_make_of_it() -> None:
    pause, category = timedelta(seconds=3), ApplicationErrorCategory.BENIGN
    group = ExceptionGroup(
        "x",
        [
            ApplicationError("a", non_retryable=True, category=category),
            ApplicationError("b", next_retry_delay=pause, category=category),
        ],
    )
    error = decode_failure(DEFAULT, encode_failure(DEFAULT, group))
    assert isinstance(error, ApplicationError)
    assert (error.non_retryable, error.next_retry_delay) == (True, pause)
    assert error.category is category


def test_a_forest_of_groups_and_causes_is_stored_in_part() -> None:
    error: Exception = ValueError("root")
    for _ in range(40):
        outer = ExceptionGroup("x", [error, error, ValueError("beside")])
        outer.__cause__ = error
        error = outer
    circle = ExceptionGroup("circle", [ValueError("in it"), error])
    circle.exceptions[0].__cause__ = circle
    failure = Failure.from_json(encode_failure(DEFAULT, circle))
    assert 100 < len(failure.all()) <= FAILURES_MAX


async def test_a_codec_sees_the_members_of_a_group() -> None:
    group = ExceptionGroup("x", [ExceptionGroup("y", [ApplicationError("secret", "detail")])])
    seen: list[bytes] = []

    class Looks(PayloadCodec):
        async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
            seen.extend(each.data for each in payloads)
            return list(payloads)

        async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
            return list(payloads)

    stored = encode_failure(ENCODED, group)
    assert b"secret" not in stored.replace(b" ", b"")
    await apply_codec_to_failure(Looks(), stored, True)
    assert any(b"secret" in each for each in seen)
    assert any(b"detail" in each for each in seen)


class Unprintable:
    """A value of a user's that is of no use as a message."""

    def __str__(self) -> str:
        raise RuntimeError("no text")

    __repr__ = __str__


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("type", 2**70),
        ("next_retry_delay", "10 s"),
        ("next_retry_delay", float("nan")),
        ("category", "benign"),
        ("category", 2**70),
    ],
)
def test_an_error_with_a_field_that_cannot_be_stored_gets_through(field: str, value: Any) -> None:
    made: Any = ApplicationError
    data = encode_failure(DEFAULT, made("paid twice", **{field: value}))
    found = decode_failure(DEFAULT, data)
    assert isinstance(found, ApplicationError)
    assert "ApplicationError" in found.message


@pytest.mark.parametrize("message", [2**70, ValueError("what it says"), Unprintable(), None])
def test_a_message_that_is_no_text_becomes_one(message: Any) -> None:
    found = decode_failure(DEFAULT, encode_failure(DEFAULT, ApplicationError(message)))
    assert isinstance(found, ApplicationError)
    assert isinstance(found.message, str)
