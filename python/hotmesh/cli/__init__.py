"""The `hotmesh` command: run workers, and start, watch and steer workflows from a shell.

Each group of commands is a file that declares its arguments and says what they do: `worker`,
`starting`, `looking`, `telling`, `fleet`. `application` puts them together and turns errors into
exit codes; `output` prints tables for people or one JSON document for programs. Nothing here knows
a backend: every command is a few calls of `hotmesh.client`.
"""

from __future__ import annotations

from hotmesh.cli.application import main

__all__ = ["main"]
