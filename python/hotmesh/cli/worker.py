"""`worker`: host workflows and activities until told to stop."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import signal
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import TYPE_CHECKING

from hotmesh.cli import loading
from hotmesh.cli.arguments import Commands, add_command, at_least, seconds
from hotmesh.cli.output import Output
from hotmesh.cli.session import connected, where
from hotmesh.client import Client
from hotmesh.exceptions import InvalidArgumentError
from hotmesh.limits import LEASE_MS_DEFAULT, LEASE_MS_MAX, LEASE_MS_MIN
from hotmesh.log import configure

if TYPE_CHECKING:
    from hotmesh.worker import Worker

MAX_CACHED_WORKFLOWS = 1000
MAX_CONCURRENT_ACTIVITIES = 100
GRACE_S = 30.0
"""How long running activities may take to finish after the worker was told to stop."""

_log = logging.getLogger("hotmesh.cli")


def add_commands(commands: Commands) -> None:
    """Add the command of this file."""
    parser = add_command(
        commands,
        "worker",
        run,
        help_text="run workflows and activities until SIGINT or SIGTERM",
    )
    parser.add_argument(
        "objects",
        metavar="module:object",
        nargs="+",
        help="a workflow class or function, an activity, a list of these, or a module",
    )
    parser.add_argument(
        "--activity",
        dest="activities",
        metavar="module:object",
        action="append",
        default=[],
        help="an undecorated `async def` that is an activity; may be repeated",
    )
    parser.add_argument(
        "--task-queue", default="default", help="the task queue to serve (default: %(default)s)"
    )
    parser.add_argument("--identity", help="who this worker says it is (default: pid@host)")
    _add_limits(parser)
    parser.add_argument(
        "--log-level",
        default="INFO",
        choices=("DEBUG", "INFO", "WARNING", "ERROR"),
        help="the lowest level to log (default: %(default)s)",
    )
    parser.add_argument(
        "--log-format",
        default="plain",
        choices=("plain", "json"),
        help="log lines for people, or JSON for programs (default: %(default)s)",
    )


def _add_limits(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--max-cached",
        metavar="N",
        type=at_least(0),
        default=MAX_CACHED_WORKFLOWS,
        help="workflows kept in memory; others are replayed when they go on (default: %(default)s)",
    )
    parser.add_argument(
        "--max-activities",
        metavar="N",
        type=at_least(1),
        default=MAX_CONCURRENT_ACTIVITIES,
        help="activities run at once (default: %(default)s)",
    )
    parser.add_argument(
        "--lease",
        metavar="DURATION",
        type=_lease,
        default=LEASE_MS_DEFAULT / 1000,
        help="how long this worker may be silent before others take over (default: 10 seconds)",
    )
    parser.add_argument(
        "--grace",
        metavar="DURATION",
        type=seconds,
        default=GRACE_S,
        help="how long running activities may finish on shutdown (default: 30 seconds)",
    )


def _lease(text: str) -> float:
    value = seconds(text)
    if not LEASE_MS_MIN <= value * 1000 <= LEASE_MS_MAX:
        raise argparse.ArgumentTypeError(
            f"a lease is {LEASE_MS_MIN} ms at least and {LEASE_MS_MAX} ms at most, not {text!r}"
        )
    return value


async def run(options: argparse.Namespace, output: Output) -> int:
    """Host what was named until SIGINT or SIGTERM, then hand everything over."""
    del output
    hosted = loading.load(options.objects, options.activities)
    configure(options.log_level, options.log_format)
    executor = ThreadPoolExecutor(options.max_activities, thread_name_prefix="activity")
    try:
        async with connected(options, makes=True, lazy=True) as client:
            await _serve(_worker(client, hosted, executor, options), options)
    finally:
        executor.shutdown(wait=False, cancel_futures=True)
    return 0


def _worker(
    client: Client,
    hosted: loading.Hosted,
    executor: ThreadPoolExecutor,
    options: argparse.Namespace,
) -> Worker:
    """Make the worker.

    Raises:
        InvalidArgumentError: It can't host what was named.
    """
    from hotmesh.worker import Worker  # The other commands need no engine.

    try:
        return Worker(
            client,
            task_queue=options.task_queue,
            workflows=hosted.workflows,
            activities=hosted.activities,
            activity_executor=executor,
            identity=options.identity,
            max_cached_workflows=options.max_cached,
            max_concurrent_activities=options.max_activities,
            graceful_shutdown_timeout=timedelta(seconds=options.grace),
            lease=options.lease,
        )
    except (TypeError, ValueError) as error:
        # Two workflows of one name, an activity without a name: said by the worker, in its words.
        raise InvalidArgumentError(f"What was named can't be hosted: {error}") from error


async def _serve(worker: Worker, options: argparse.Namespace) -> None:
    """Run the worker; at a signal, shut it down and wait until it has handed over."""
    running = asyncio.create_task(worker.run(), name="hotmesh worker")
    with _told_to_stop() as stopping:
        _log.info("Serving task queue %r in %s", options.task_queue, where(options))
        told = asyncio.create_task(stopping.wait(), name="hotmesh stop signal")
        await asyncio.wait((running, told), return_when=asyncio.FIRST_COMPLETED)
        told.cancel()
        if not running.done():
            _log.info("Stopping; a second signal ends the process at once")
            await worker.shutdown()
        await running


@contextlib.contextmanager
def _told_to_stop() -> Generator[asyncio.Event]:
    """An event that the first SIGINT or SIGTERM sets; the second one ends the process."""
    loop = asyncio.get_running_loop()
    stopping = asyncio.Event()
    earlier = {each: signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)}

    def stop(number: int, frame: object) -> None:
        del frame
        signal.signal(number, signal.SIG_DFL)
        loop.call_soon_threadsafe(stopping.set)

    for each in earlier:
        signal.signal(each, stop)  # Unlike the loop's own handlers, it works on Windows too.
    try:
        yield stopping
    finally:
        for number, handler in earlier.items():
            signal.signal(number, handler)
