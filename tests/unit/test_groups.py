"""What a group comes to, by its members."""

import asyncio
from datetime import timedelta

import pytest

from hotmesh import groups
from hotmesh.activity import CompleteAsyncError
from hotmesh.exceptions import (
    ActivityError,
    ApplicationError,
    ApplicationErrorCategory,
    CancelledError,
    FailureError,
    RetryState,
    ServerError,
    TimeoutError,  # noqa: A004 - the type under test
    TimeoutType,
    is_cancelled_exception,
)

ONE, TWO, THREE = ValueError("1"), KeyError("2"), CancelledError("3")


def group(*members: BaseException) -> BaseExceptionGroup[BaseException]:
    return BaseExceptionGroup("several", list(members))


def activity_error(cause: BaseException) -> ActivityError:
    error = ActivityError(
        "failed",
        scheduled_event_id=1,
        started_event_id=1,
        identity="",
        activity_type="a",
        activity_id="1",
        retry_state=RetryState.IN_PROGRESS,
    )
    error.__cause__ = cause
    return error


def test_leaves_are_the_members_of_all_groups_in_order() -> None:
    assert groups.leaves(ONE) == [ONE]
    assert groups.leaves(group(ONE, group(group(TWO), THREE))) == [ONE, TWO, THREE]


def test_deep_groups_have_leaves() -> None:
    deep = group(ONE)
    for _ in range(5_000):
        deep = group(deep)
    assert groups.leaves(deep) == [ONE]


def test_what_is_in_many_groups_is_one_member() -> None:
    many = group(ONE, TWO)
    for _ in range(60):
        many = group(many, many)
    assert set(groups.leaves(many)) == {ONE, TWO}


def test_a_stored_group_has_its_members() -> None:
    stored = FailureError("several")
    stored._members = (ONE, group(TWO))  # pyright: ignore[reportPrivateUsage]
    assert groups.members_of(stored) == stored.members
    assert groups.leaves(stored) == [ONE, TWO]
    assert groups.members_of(ONE) == ()


@pytest.mark.parametrize(
    ("error", "cancelled"),
    [
        (group(asyncio.CancelledError(), group(CancelledError())), True),
        (group(activity_error(CancelledError()), CancelledError()), True),
        (group(activity_error(CancelledError()), ONE), False),
        (group(activity_error(ONE)), False),
    ],
)
def test_a_group_is_cancelled_if_each_member_is(error: BaseException, cancelled: bool) -> None:
    assert is_cancelled_exception(error) is cancelled


def test_an_interruption_is_the_raisers_own_cancellation() -> None:
    assert groups.is_interruption(group(asyncio.CancelledError(), CancelledError()))
    assert not groups.is_interruption(group(activity_error(CancelledError())))


def test_cancelled_members_do_not_count_beside_others() -> None:
    complete = CompleteAsyncError()
    assert groups.remaining(group(asyncio.CancelledError(), complete)) == [complete]
    assert groups.remaining(group(THREE)) == [THREE]
    assert groups.remaining(ONE) == [ONE]


def test_one_member_forbids_retries_for_all() -> None:
    final = ApplicationError("x", non_retryable=True)
    assert groups.is_non_retryable(group(ONE, group(final)))
    assert groups.is_non_retryable(group(ServerError("x", non_retryable=True)))
    assert not groups.is_non_retryable(group(ONE, ApplicationError("x")))


def test_the_longest_pause_that_a_member_asks_for_counts() -> None:
    pauses = [ApplicationError("x", next_retry_delay=timedelta(seconds=n)) for n in (1, 3, 2)]
    assert groups.requested_delay(group(ONE, *pauses)) == timedelta(seconds=3)
    assert groups.requested_delay(group(ONE)) is None


def test_a_group_is_benign_if_each_member_is() -> None:
    benign = ApplicationError("x", category=ApplicationErrorCategory.BENIGN)
    assert groups.is_benign(group(benign, group(benign)))
    assert not groups.is_benign(group(benign, ONE))


def test_policies_may_name_members_and_the_group_but_no_timeouts() -> None:
    late = TimeoutError("late", type=TimeoutType.HEARTBEAT, last_heartbeat_details=[])
    found = groups.type_names(ExceptionGroup("x", [ONE, ApplicationError("x", type="Mine"), late]))
    assert found == {"ExceptionGroup", "ValueError", "Mine"}
