"""Policies a caller chooses: retries, reuse of ids, priorities."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import IntEnum
from typing import ClassVar

from hotmesh.exceptions import InvalidArgumentError

MAXIMUM_INTERVAL_FACTOR = 100
"""The longest retry interval, as a multiple of the first, when the policy names none."""


@dataclass
class RetryPolicy:
    """How a failed workflow or activity is tried again."""

    initial_interval: timedelta = timedelta(seconds=1)
    """Delay before the first retry."""

    backoff_coefficient: float = 2.0
    """What each delay is multiplied by to get the next."""

    maximum_interval: timedelta | None = None
    """Longest delay. Default is 100 times the initial interval."""

    maximum_attempts: int = 0
    """Most attempts, the first included. 0 is no limit."""

    non_retryable_error_types: Sequence[str] | None = None
    """Types of application errors that are never retried."""

    def validate(self) -> None:
        """Check that the fields make sense together.

        Raises:
            InvalidArgumentError: One of them does not.
        """
        self._check_types()
        if self.maximum_attempts == 1:
            return  # Nothing is retried, so the delays do not matter.
        zero = timedelta()
        if self.initial_interval < zero:
            raise InvalidArgumentError("Initial interval cannot be negative")
        if not self.backoff_coefficient >= 1:  # Also refuses NaN.
            raise InvalidArgumentError("Backoff coefficient cannot be less than 1")
        if self.maximum_interval:
            if self.maximum_interval < zero:
                raise InvalidArgumentError("Maximum interval cannot be negative")
            if self.maximum_interval < self.initial_interval:
                raise InvalidArgumentError("Maximum interval cannot be less than initial interval")
        if self.maximum_attempts < 0:
            raise InvalidArgumentError("Maximum attempts cannot be negative")

    def _check_types(self) -> None:
        # Callers without a type checker pass seconds, or one name where several are wanted.
        durations = {"Initial interval": self.initial_interval}
        if self.maximum_interval is not None:
            durations["Maximum interval"] = self.maximum_interval
        for name, value in durations.items():
            if not isinstance(value, timedelta):  # pyright: ignore[reportUnnecessaryIsInstance]
                raise InvalidArgumentError(f"{name} must be a timedelta, not {value!r}")
        if not isinstance(self.backoff_coefficient, (int, float)):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise InvalidArgumentError(
                f"Backoff coefficient must be a number, not {self.backoff_coefficient!r}"
            )
        if not isinstance(self.maximum_attempts, int):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise InvalidArgumentError(
                f"Maximum attempts must be a whole number, not {self.maximum_attempts!r}"
            )
        names = self.non_retryable_error_types
        if isinstance(names, str) or not all(isinstance(each, str) for each in names or ()):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise InvalidArgumentError(
                f"Non-retryable error types must be a list of names, not {names!r}"
            )

    def interval_before(self, attempt: int) -> timedelta:
        """The delay before an attempt.

        Args:
            attempt: Number of the attempt to be made; 2 is the first retry.

        Returns:
            The delay, never above the maximum interval.
        """
        ceiling = self.maximum_interval or self.initial_interval * MAXIMUM_INTERVAL_FACTOR
        try:
            seconds = self.initial_interval.total_seconds() * self.backoff_coefficient ** (
                attempt - 2
            )
        except OverflowError:  # Past the ceiling long ago.
            return ceiling
        return ceiling if seconds >= ceiling.total_seconds() else timedelta(seconds=seconds)


class WorkflowIDReusePolicy(IntEnum):
    """Whether a workflow may be started under the id of a closed one."""

    ALLOW_DUPLICATE = 1
    ALLOW_DUPLICATE_FAILED_ONLY = 2
    REJECT_DUPLICATE = 3
    TERMINATE_IF_RUNNING = 4
    """Deprecated: use :attr:`WorkflowIDConflictPolicy.TERMINATE_EXISTING`."""


class WorkflowIDConflictPolicy(IntEnum):
    """What happens when a workflow is started under the id of a running one."""

    UNSPECIFIED = 0
    FAIL = 1
    USE_EXISTING = 2
    TERMINATE_EXISTING = 3


class ActivityIDReusePolicy(IntEnum):
    """Whether a standalone activity may be started under the id of a closed one."""

    UNSPECIFIED = 0
    ALLOW_DUPLICATE = 1
    ALLOW_DUPLICATE_FAILED_ONLY = 2
    REJECT_DUPLICATE = 3


class ActivityIDConflictPolicy(IntEnum):
    """What happens when a standalone activity is started under the id of a running one."""

    UNSPECIFIED = 0
    FAIL = 1
    USE_EXISTING = 2


class QueryRejectCondition(IntEnum):
    """In which states of the workflow a query is refused."""

    NONE = 1
    NOT_OPEN = 2
    NOT_COMPLETED_CLEANLY = 3


class HeaderCodecBehavior(IntEnum):
    """Whether the payload codec is applied to headers."""

    NO_CODEC = 1
    """Never."""
    CODEC = 2
    """Everywhere."""
    WORKFLOW_ONLY_CODEC = 3
    """Only to the headers that workflow code sends and gets."""


@dataclass(frozen=True)
class Priority:
    """Which of several waiting tasks runs first.

    Activities and child workflows inherit each field that is not set from the workflow that
    starts them.
    """

    priority_key: int | None = None
    """From 1 up; smaller runs sooner. Default is 3."""

    fairness_key: str | None = None
    """Tasks of different keys, e.g. tenants, share the queue by weight. Default is empty."""

    fairness_weight: float | None = None
    """Share of this task's fairness key. Default is 1.0."""

    default: ClassVar[Priority]
    """Nothing set."""

    def __post_init__(self) -> None:
        """Check the key.

        Raises:
            TypeError: The priority key is not an integer.
            InvalidArgumentError: It is below 1.
        """
        key = self.priority_key
        if key is None:
            return
        if not isinstance(key, int):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TypeError("priority_key must be an integer")
        if key < 1:
            raise InvalidArgumentError("priority_key must be a positive integer")


Priority.default = Priority()
