"""A TCP proxy whose connections can fall silent, as those through a dead router or firewall do."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from urllib.parse import urlsplit, urlunsplit

from support.processes import HOST

CHUNK = 65_536


class Proxy:
    """Passes bytes on in both directions.

    Args:
        url: Of the server behind it.
    """

    def __init__(self, url: str) -> None:
        self.direct_url = url
        self._parts = urlsplit(url)
        self._tasks: set[asyncio.Task[None]] = set()
        self._let_through = asyncio.Event()
        self._let_through.set()
        self._refuses = False
        self._port = 0

    @property
    def url(self) -> str:
        """The server's URL, through the proxy."""
        user, at, _ = self._parts.netloc.rpartition("@")
        return urlunsplit(self._parts._replace(netloc=f"{user}{at}{HOST}:{self._port}"))

    def silence(self) -> None:
        """Let what is connected now stay connected without ever passing anything on again."""
        self.stall()
        self._let_through = asyncio.Event()
        self._let_through.set()

    def stall(self) -> None:
        """As :meth:`silence`, and so for whatever will connect: a server that was stopped."""
        self._let_through.clear()

    def refuse(self) -> None:
        """Cut what is connected, and whatever will connect."""
        self._refuses = True
        for task in self._tasks:
            task.cancel()

    def serve(self) -> None:
        """Let new connections through again."""
        self._refuses = False
        self._let_through = asyncio.Event()
        self._let_through.set()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[Proxy]:
        """Listen until the end of the block."""
        server = await asyncio.start_server(self._connected, HOST, 0)
        self._port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._refuses:
            writer.close()
            return
        far_reader, far_writer = await asyncio.open_connection(HOST, self._parts.port)
        if self._refuses:  # by now
            writer.close()
            far_writer.close()
            return
        gate = self._let_through
        for source, target in ((reader, far_writer), (far_reader, writer)):
            task = asyncio.create_task(self._pump(source, target, gate))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            # Not in the task: one that is cancelled before it begins never runs.
            task.add_done_callback(lambda _, target=target: target.close())

    async def _pump(
        self, source: asyncio.StreamReader, target: asyncio.StreamWriter, gate: asyncio.Event
    ) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await source.read(CHUNK):
                await gate.wait()
                target.write(data)
                await target.drain()
