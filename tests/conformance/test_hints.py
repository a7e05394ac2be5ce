"""Wake-up hints: every listener of a channel is called back, here and over there."""

import asyncio
from collections.abc import Callable

from conformance.mesh import PATIENCE_S, Mesh
from hotmesh.backends.protocol import Backend


class Listener:
    """Collects the hints of a channel."""

    def __init__(self) -> None:
        self.hints: asyncio.Queue[str | None] = asyncio.Queue()

    def __call__(self, payload: str | None) -> None:
        self.hints.put_nowait(payload)

    async def hears(self, wanted: str) -> None:
        """Wait for a payload, or for the hint that something may have changed."""

        async def look() -> None:
            while await self.hints.get() not in (wanted, None):
                pass

        await asyncio.wait_for(look(), PATIENCE_S)


async def say(backend: Backend, *hints: tuple[str, str]) -> None:
    await backend.notify(list(hints))


async def test_a_listener_in_the_same_process_hears_the_payload(mesh: Mesh) -> None:
    listener = Listener()
    await mesh.backend.listen("lanes:1", listener)
    await say(mesh.backend, ("lanes:1", "5,6"))
    await listener.hears("5,6")


async def test_a_listener_on_another_connection_hears_it_too(mesh: Mesh, other: Backend) -> None:
    listener = Listener()
    await other.listen("done:default", listener)
    await say(mesh.backend, ("done:default", ""))
    await listener.hears("")


async def test_channels_are_apart(mesh: Mesh) -> None:
    first, second = Listener(), Listener()
    await mesh.backend.listen("tasks:1", first)
    await mesh.backend.listen("tasks:2", second)
    await say(mesh.backend, ("tasks:1", "one"), ("tasks:2", "two"))
    await first.hears("one")
    await second.hears("two")
    payloads = [first.hints.get_nowait() for _ in range(first.hints.qsize())]
    assert "two" not in payloads


async def test_all_listeners_of_a_channel_hear(mesh: Mesh) -> None:
    listeners = [Listener(), Listener()]
    for listener in listeners:
        await mesh.backend.listen("lanes:1", listener)
    await say(mesh.backend, ("lanes:1", "x"))
    for listener in listeners:
        await listener.hears("x")


async def test_one_who_stopped_listening_hears_no_more(mesh: Mesh) -> None:
    stopped, listening = Listener(), Listener()
    callback: Callable[[str | None], None] = stopped
    await mesh.backend.listen("lanes:1", callback)
    await mesh.backend.listen("lanes:1", listening)
    await mesh.backend.unlisten("lanes:1", callback)
    await mesh.backend.unlisten("lanes:1", callback)
    await say(mesh.backend, ("lanes:1", "x"))
    await listening.hears("x")
    payloads = [stopped.hints.get_nowait() for _ in range(stopped.hints.qsize())]
    assert "x" not in payloads


async def test_channel_names_may_be_long(mesh: Mesh, other: Backend) -> None:
    channel = "done:" + "ü" * 400
    listener = Listener()
    await other.listen(channel, listener)
    await say(mesh.backend, (channel, "a" * 2_000))
    await listener.hears("a" * 2_000)


async def test_a_hint_nobody_listens_for_is_no_error(mesh: Mesh) -> None:
    await say(mesh.backend, ("lanes:99", "x"))
    await mesh.backend.notify([])
