"""The client that a command works with."""

from __future__ import annotations

import argparse
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager

from hotmesh.backends.registry import backend_for
from hotmesh.cli.arguments import Run
from hotmesh.cli.output import Output
from hotmesh.client import Client
from hotmesh.client._configure import chosen_url
from hotmesh.exceptions import BackendError
from hotmesh.redaction import shown_url

Command = Callable[[Client, argparse.Namespace, Output], Awaitable[int]]
"""A command that works with a client."""


def with_client(command: Command, *, makes: bool = False) -> Run:
    """A command that connects first and closes the connection afterwards.

    Args:
        command: The command.
        makes: Whether it may make the database that it works with.
    """

    async def run(options: argparse.Namespace, output: Output) -> int:
        async with connected(options, makes=makes) as client:
            return await command(client, options, output)

    return run


@asynccontextmanager
async def connected(
    options: argparse.Namespace, *, makes: bool = False, lazy: bool = False
) -> AsyncGenerator[Client]:
    """A client of the database and namespace that the options name.

    Args:
        options: Of the command.
        makes: Whether the database is made if it is not there.
        lazy: Whether it is connected on its first call.

    Raises:
        HotMeshError: It can't be connected, or is not there.
    """
    if not makes and not await backend_for(chosen_url(options.url)).exists():
        raise BackendError(
            f"There is no HotMesh database for {where(options)}, and this command makes none: "
            "`hotmesh start`, a worker or Client.connect does. Is --url right?"
        )
    async with await Client.connect(options.url, namespace=options.namespace, lazy=lazy) as client:
        yield client


def where(options: argparse.Namespace) -> str:
    """The namespace and the database that the options name, for messages."""
    url: str = chosen_url(getattr(options, "url", None))
    namespace: str = getattr(options, "namespace", "default")
    return f"namespace {namespace!r} of {shown_url(url)}"
