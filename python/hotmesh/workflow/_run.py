"""The run itself: its clock, its randomness, its record, its versions."""

from __future__ import annotations

import random as random_module
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from hotmesh.common import ARG_UNSET, MetricMeter, SearchAttributes, SearchAttributeUpdate
from hotmesh.converter import PayloadConverter
from hotmesh.core import kinds
from hotmesh.engine import failures
from hotmesh.engine.context import current, maybe_current
from hotmesh.engine.info import Info
from hotmesh.engine.options import checked_name
from hotmesh.telemetry import program_meter


def in_workflow() -> bool:
    """Whether the caller is workflow code. Works anywhere."""
    return maybe_current() is not None


def info() -> Info:
    """What the run knows about itself."""
    return current().info


def instance() -> Any:
    """The workflow object."""
    return current().object


def now() -> datetime:
    """The workflow's time (UTC): when its current transition began."""
    return datetime.fromtimestamp(current().now_ms / 1000, UTC)


def time() -> float:
    """:func:`now` as seconds since the epoch."""
    return current().now_ms / 1000


def time_ns() -> int:
    """:func:`now` as nanoseconds since the epoch."""
    return current().now_ms * 1_000_000


def random() -> random_module.Random:
    """The run's random generator: seeded by the run, the same in every replay."""
    run = current()
    run.check_writable("use workflow random")
    return run.random


def new_random() -> random_module.Random:
    """A further generator, seeded by the run's."""
    return random_module.Random(random_seed())


def random_seed() -> int:
    """A seed from the run's generator."""
    return random().getrandbits(64)


def extern_functions() -> Mapping[str, Callable[..., Any]]:
    """The functions that the worker's interceptors let workflow code reach, by name.

    They were put there through ``WorkflowInterceptorClassInput.unsafe_extern_functions``, and run
    outside the workflow's determinism: what they return must be the same in every replay.
    """
    return current().extern_functions


def metric_meter() -> MetricMeter:
    """A meter that marks measurements with namespace, task queue and workflow type.

    They go to the OpenTelemetry meter provider that the program has set; without one they are
    dropped. Replay measures nothing; a workflow task that fails and is tried again measures again.
    """
    instance = current()
    return program_meter(
        {
            "namespace": instance.info.namespace,
            "task_queue": instance.info.task_queue,
            "workflow_type": instance.info.workflow_type,
        },
        lambda: not instance.is_replaying,
    )


def uuid4() -> UUID:
    """A random UUID, the same in every replay."""
    return current().uuid4()


def uuid7() -> UUID:
    """A UUID ordered by workflow time, the same in every replay."""
    return current().uuid7()


def patched(id: str) -> bool:  # noqa: A002 - the name ported code passes
    """Whether to run new code: true for runs that reach it first under the new code.

    The answer is fixed per run and recorded, so that old runs replay the old branch.

    Args:
        id: Names the change.
    """
    return _patch(id)


def deprecate_patch(id: str) -> None:  # noqa: A002 - the name ported code passes
    """Record a patch whose old branch is gone; to be removed when no run needs it."""
    _patch(id)


def _patch(id: str) -> bool:  # noqa: A002 - the name ported code passes
    run = current()
    run.check_writable("use patched")
    answer = run.patch_answers.get(id)
    if answer is None:
        checked_name(id, "patch id")
        answer = not run.is_replaying or id in run.patches
        run.patch_answers[id] = answer
        if answer:
            run.command((kinds.PATCH, 0, 0, id, b"", b""))
    return answer


def cancellation_reason() -> str | None:
    """Why cancellation was requested ("" if nobody said); None if it was not."""
    return current().cancel_reason


def is_failure_exception(err: BaseException) -> bool:
    """Whether an exception would fail the run (true) or only the task (false)."""
    return failures.is_workflow_failure(err, current().failure_types)


def payload_converter() -> PayloadConverter:
    """The converter of this worker's payloads."""
    return current().converter.payload_converter


def memo() -> Mapping[str, Any]:
    """The memo."""
    run = current()
    return {name: run.memo_value(name, None) for name in run.memo_bodies()}


def memo_value(key: str, default: Any = ARG_UNSET, *, type_hint: type | None = None) -> Any:
    """One memo field.

    Args:
        key: Its name.
        default: What to return if there is none.
        type_hint: What to read it as.

    Raises:
        KeyError: there is none and no default.
    """
    try:
        return current().memo_value(key, type_hint)
    except KeyError:
        if default is ARG_UNSET:
            raise KeyError(f"Memo does not have a value for key {key}") from None
        return default


def upsert_memo(updates: Mapping[str, Any]) -> None:
    """Change memo fields; None removes one."""
    current().upsert_memo(updates)


def upsert_search_attributes(
    attributes: SearchAttributes | Sequence[SearchAttributeUpdate[Any]],
) -> None:
    """Change search attributes, by updates of typed keys or (older form) lists by name."""
    current().upsert_search_attributes(attributes)


def has_last_completion_result() -> bool:
    """Whether the run before this one in a cron chain left a result: never, there are none."""
    current()
    return False


def get_last_completion_result(type_hint: type | None = None) -> Any:
    """The result of the run before this one in a cron chain: None, there are none."""
    del type_hint
    current()


def get_last_failure() -> BaseException | None:
    """How the run before this one in a chain of retries failed, or None."""
    return current().last_failure()


def get_current_details() -> str:
    """What :func:`set_current_details` set."""
    return current().current_details


def set_current_details(description: str) -> None:
    """Describe for people what the run is doing."""
    run = current()
    run.check_writable("set current details")
    run.current_details = description


def enrich(values: Mapping[str, Any]) -> None:
    """Add names and JSON values to the run's record, in the commit of this transition.

    Raises:
        InvalidArgumentError: a name is invalid or a value is no JSON.
    """
    current().enrich(values)


def emit(events: Mapping[str, Any]) -> None:
    """Publish events, topic → JSON value, on the bus once this transition is committed.

    A replay never publishes again. A crash between commit and publication loses the event.

    Raises:
        InvalidArgumentError: a topic is invalid or a value is no JSON.
    """
    current().emit(events)


def trace(attributes: Mapping[str, Any]) -> None:
    """Record a span with these attributes once this transition is committed.

    Raises:
        InvalidArgumentError: a name is invalid or a value is no JSON.
    """
    current().trace(attributes)


async def wait_signal(id: str) -> Any:  # noqa: A002 - the name ported code passes
    """Wait for the datum that anybody sends under an id of the namespace, before or after.

    It never expires. Each datum reaches one waiter, in order.
    """
    return await current().wait_mail(id)


def send_signal(id: str, data: Any = None) -> None:  # noqa: A002 - the name ported code passes
    """Send a datum to the one who waits for an id of the namespace, now or later."""
    current().send_mail(id, data)


class unsafe:  # noqa: N801 - the name ported code uses
    """Things that workflow code should know what it does with."""

    @staticmethod
    def is_replaying() -> bool:
        """Whether this transition was recorded before."""
        return current().is_replaying

    @staticmethod
    def is_replaying_history_events() -> bool:
        """Whether recorded events are being replayed."""
        return current().is_replaying

    @staticmethod
    def is_read_only() -> bool:
        """Whether a query or validator is running."""
        return bool(current().read_only)

    @staticmethod
    def in_sandbox() -> bool:
        """Always false: workflow modules are not re-imported."""
        return False

    @staticmethod
    @contextmanager
    def imports_passed_through(**_: Any) -> Generator[None]:
        """Accepted for compatibility; imports are ordinary. Works anywhere."""
        yield

    @staticmethod
    @contextmanager
    def sandbox_unrestricted() -> Generator[None]:
        """Accepted for compatibility. Works anywhere."""
        yield

    @staticmethod
    def current_time_provider() -> Callable[[], float]:
        """The workflow's clock as a function."""
        return time
