"""Arguments that commands share, and the types of their values."""

from __future__ import annotations

import argparse
import json
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, cast

from hotmesh import duration
from hotmesh.exceptions import InvalidArgumentError

if TYPE_CHECKING:
    from hotmesh.cli.output import Output

Run = Callable[[argparse.Namespace, "Output"], Awaitable[int]]
"""What a command does; returns the exit code."""

Commands = Any
"""What `add_subparsers` returns; argparse keeps its type to itself."""


def add_command(
    commands: Commands, name: str, run: Run, *, help_text: str, connects: bool = True
) -> argparse.ArgumentParser:
    """Add a command with the options that all commands have.

    Args:
        commands: What it is added to.
        name: Its name.
        run: What it does.
        help_text: One line for people.
        connects: Whether it uses a database.

    Returns:
        Its parser, to add arguments to.
    """
    parser = cast(
        "argparse.ArgumentParser",
        commands.add_parser(name, help=help_text, description=help_text, allow_abbrev=False),
    )
    parser.set_defaults(run=run)
    if connects:
        parser.add_argument(
            "--url",
            help="the database: sqlite:///file.db, postgresql://… or redis://… "
            "(default: $HOTMESH_URL, else sqlite:///hotmesh.db)",
        )
        parser.add_argument(
            "--namespace", default="default", help="the namespace (default: %(default)s)"
        )
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    return parser


def add_values(parser: argparse.ArgumentParser, what: str) -> None:
    """Add the repeatable `--arg JSON`."""
    parser.add_argument(
        "--arg",
        dest="args",
        metavar="JSON",
        action="append",
        default=[],
        type=json_value,
        help=f"{what}, as JSON; repeat it for more than one",
    )


def add_run_id(parser: argparse.ArgumentParser) -> None:
    """Add the workflow's id, and `--run` to name one run of it."""
    parser.add_argument("id", metavar="ID", help="the workflow id")
    parser.add_argument("--run", dest="run_id", metavar="RUN", help="one run (default: the newest)")


def json_value(text: str) -> Any:
    """A JSON value given on the command line."""
    try:
        return json.loads(text)
    except ValueError:
        quoted = json.dumps(text)
        raise argparse.ArgumentTypeError(
            f"{text!r} is not JSON; text is written in quotes: '{quoted}'"
        ) from None


def seconds(text: str) -> float:
    """A duration given on the command line, in seconds."""
    try:
        return duration.seconds(text)
    except InvalidArgumentError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def at_least(least: int) -> Callable[[str], int]:
    """A type of whole numbers that are not smaller than ``least``."""

    def number(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = least - 1
        if value < least:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of {least} or more")
        return value

    return number
