"""The `hotmesh` command: run workers, and start, watch and steer workflows from a shell.

Each group of commands is a file that declares its arguments and says what they do: `worker`,
`starting`, `looking`, `telling`, `fleet`. `application` puts them together and turns errors into
exit codes; `output` prints tables for people or one JSON document for programs. Nothing here knows
a backend: every command is a few calls of `hotmesh.client`.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; see `application`.

    A core that was asked for and is not there is found out by importing it, so that is done here.
    """
    try:
        from hotmesh.cli import application
    except ImportError as error:
        if error.name is not None:  # A module that is missing, no core that was refused.
            raise
        sys.stderr.write(f"hotmesh: {error}\n")
        return 1
    return application.main(argv)
