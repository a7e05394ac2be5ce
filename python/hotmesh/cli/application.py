"""The command line as a whole: its commands, and what becomes of their errors."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import Sequence

from hotmesh._version import __version__
from hotmesh.bench import command as bench
from hotmesh.cli import fleet, looking, starting, telling, worker
from hotmesh.cli.arguments import Run
from hotmesh.cli.failures import explain
from hotmesh.cli.output import Output
from hotmesh.cli.session import where
from hotmesh.exceptions import HotMeshError

EXIT_FINE = 0
EXIT_FAILED = 1
"""A workflow failed, or the command could not do what was asked."""
EXIT_USAGE = 2
"""The command line is wrong; argparse exits with it as well."""
EXIT_INTERRUPTED = 130
"""Ctrl-C, as shells count it."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: Its words. Default is those of this process.

    Returns:
        The exit code: 0 fine, 1 a failed workflow or another typed error (said in one line on
        standard error), 130 interrupted.

    Raises:
        SystemExit: With 2, the command line is wrong; with 0, help was asked for.
    """
    options = _parser().parse_args(argv)
    run: Run = options.run
    try:
        return asyncio.run(_run(run, options))
    except HotMeshError as error:
        print(f"hotmesh: {explain(error, where(options))}", file=sys.stderr)
        return EXIT_FAILED
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # Whoever read the output has left (`hotmesh list | head`). Python would complain again
        # when it flushes standard output at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_FINE


async def _run(run: Run, options: argparse.Namespace) -> int:
    return await run(options, Output(as_json=options.json))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="hotmesh",
        description="Durable workflows with nothing but a database.",
        epilog="`hotmesh COMMAND --help` says more about each.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"hotmesh {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for group in (worker, starting, looking, telling, fleet, bench):
        group.add_commands(commands)
    return parser
