"""Connecting, sharing, closing; interceptors and plugins; where a client must not be used."""

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from hotmesh import forks
from hotmesh.client import (
    Client,
    ClientConfig,
    ConnectConfig,
    Connection,
    Interceptor,
    OutboundInterceptor,
    Plugin,
    SignalWorkflowInput,
    StartWorkflowInput,
    WorkflowHandle,
)
from hotmesh.common import Payload
from hotmesh.engine import wire
from hotmesh.exceptions import ForkedError, InvalidArgumentError
from hotmesh.limits import LANES_PER_QUEUE, PAYLOAD_BYTES_CEILING
from unit.client.hands import QUEUE, Hands


async def test_the_url_comes_from_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOTMESH_URL", f"sqlite:///{tmp_path}/chosen.db")
    async with await Client.connect() as client:
        assert client.backend.url.endswith("chosen.db")
    assert (tmp_path / "chosen.db").exists()


async def test_without_a_url_it_is_a_file_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HOTMESH_URL", raising=False)
    monkeypatch.chdir(tmp_path)
    async with await Client.connect():
        pass
    assert (tmp_path / "hotmesh.db").exists()


@pytest.mark.parametrize("url", ["localhost:7233", "mysql://x"])
async def test_an_unknown_url_is_refused(url: str) -> None:
    with pytest.raises(InvalidArgumentError, match="scheme"):
        await Client.connect(url)


@pytest.mark.parametrize(
    "options", [{"namespace": ""}, {"payload_limit": 0}, {"payload_limit": 2**40}]
)
async def test_bad_options_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(InvalidArgumentError):
        await Client.connect("sqlite://", **options)  # type: ignore[arg-type]


async def test_the_payload_limit_may_be_the_backends_own() -> None:
    async with await Client.connect("sqlite://", payload_limit=PAYLOAD_BYTES_CEILING["sqlite"]):
        pass


async def test_what_only_a_server_needs_is_ignored(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, logger="hotmesh.client")
    async with await Client.connect("sqlite://", api_key="secret", tls=True):
        pass
    assert "ignores api_key" in caplog.text
    assert "ignores tls" not in caplog.text


async def test_tls_that_was_asked_for_is_not_dropped_in_silence(
    caplog: pytest.LogCaptureFixture,
) -> None:
    for url in ("postgresql://host/database", "redis://host"):
        caplog.clear()
        async with await Client.connect(url, tls=True, lazy=True):
            pass
        (record,) = [each for each in caplog.records if "ignores tls" in each.getMessage()]
        assert record.levelname == "WARNING"
    assert "secret" not in caplog.text


async def test_lazy_connects_on_the_first_call(tmp_path: Path) -> None:
    path = tmp_path / "lazy.db"
    async with await Client.connect(f"sqlite:///{path}", lazy=True) as client:
        assert not path.exists()
        await client.start_workflow("Greet", id="w", task_queue=QUEUE)
        assert path.exists()


async def test_closing_lets_writes_finish(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/close.db"
    client = await Client.connect(url)
    starting = asyncio.ensure_future(client.start_workflow("Greet", id="w", task_queue=QUEUE))
    await client.backend.queue_id("default", QUEUE)
    waiting = asyncio.ensure_future((await starting).result())
    await asyncio.sleep(0)
    await client.close()
    await client.close()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    with pytest.raises(RuntimeError, match="closed"):
        await client.get_workflow_handle("w").describe()
    async with await Client.connect(url) as again:
        assert (await again.count_workflows()).count == 1


async def test_a_forked_child_must_not_use_it(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forks, "_generation", 1_000)
    try:
        for call in (
            client.start_workflow("Greet", id="w", task_queue=QUEUE),
            client.get_workflow_handle("w").result(),
            client.get_workflow_handle("w").signal("s"),
            client.get_workflow_handle("w").query("q"),
            client.count_workflows(),
        ):
            with pytest.raises(ForkedError, match="before a fork"):
                await call
    finally:
        monkeypatch.undo()


async def test_another_loop_must_not_use_it(client: Client) -> None:
    def elsewhere() -> None:
        asyncio.run(client.get_workflow_handle("w").describe())

    with pytest.raises(RuntimeError, match="another event loop"):
        await asyncio.to_thread(elsewhere)


async def test_clients_of_one_configuration_share_the_connection(client: Client) -> None:
    config = client.config()
    config["namespace"] = "other"
    other = Client(**config)
    assert other.connection is client.connection
    assert (other.namespace, client.namespace) == ("other", "default")


async def test_the_identity_is_kept_if_chosen() -> None:
    async with await Client.connect("sqlite://", identity="me") as client:
        assert client.identity == "me"
    async with await Client.connect("sqlite://") as client:
        assert client.identity.startswith(f"{os.getpid()}@")


async def test_routers_are_told_which_lanes_received_something(client: Client) -> None:
    queue_id = await client.backend.queue_id("default", QUEUE)
    hints: asyncio.Queue[str | None] = asyncio.Queue()
    await client.backend.listen(f"lanes:{queue_id}", hints.put_nowait)
    handle = await client.start_workflow("Greet", id="w", task_queue=QUEUE)
    lane = (await handle.describe()).raw_info.lane
    async with asyncio.timeout(5):
        assert await hints.get() == f"{1 << lane % LANES_PER_QUEUE:x}"


class Marker(OutboundInterceptor):
    """Adds a header, and notes what passes."""

    def __init__(self, following: OutboundInterceptor, name: str, seen: list[str]) -> None:
        super().__init__(following)
        self.name = name
        self.seen = seen

    async def start_workflow(self, input: StartWorkflowInput) -> WorkflowHandle:  # type: ignore[type-arg]  # noqa: A002
        self.seen.append(f"{self.name} start {input.id}")
        input.headers = {**input.headers, self.name: Payload({"encoding": b"x"}, b"\x00\xff")}
        return await super().start_workflow(input)

    async def signal_workflow(self, input: SignalWorkflowInput) -> None:  # noqa: A002
        self.seen.append(f"{self.name} signal {input.signal}")
        input.headers = {self.name: Payload({}, b"s")}
        await super().signal_workflow(input)


class Marking(Interceptor):
    def __init__(self, name: str, seen: list[str]) -> None:
        self.name = name
        self.seen = seen

    def intercept_client(self, next: OutboundInterceptor) -> OutboundInterceptor:  # noqa: A002
        return Marker(next, self.name, self.seen)


async def test_interceptors_see_calls_in_order_and_headers_arrive(
    client: Client, hands: Hands
) -> None:
    seen: list[str] = []
    config = client.config()
    config["interceptors"] = [Marking("a", seen), Marking("b", seen), Interceptor()]
    marked = Client(**config)
    handle = await marked.start_workflow("Greet", id="w", task_queue=QUEUE)
    await handle.signal("go")
    assert seen == ["a start w", "b start w", "a signal go", "b signal go"]
    headers = wire.unpack_headers(wire.load((await hands.next()).header)["h"])
    assert headers["a"] == headers["b"] == Payload({"encoding": b"x"}, b"\x00\xff")
    assert wire.unpack_headers((await hands.next()).document["h"]) == {"b": Payload({}, b"s")}


class Renamer(Plugin):
    """Moves the client into another namespace."""

    def __init__(self) -> None:
        self.hosts: list[str] = []

    def configure_client(self, config: ClientConfig) -> ClientConfig:
        config["namespace"] = f"{config['namespace']}-plugged"
        return config

    async def connect_service_client(
        self,
        config: ConnectConfig,
        next: Callable[[ConnectConfig], Awaitable[Connection]],  # noqa: A002
    ) -> Connection:
        self.hosts.append(config.target_host)
        return await next(config)


async def test_plugins_change_the_configuration_and_see_the_connect() -> None:
    plugin = Renamer()
    async with await Client.connect("sqlite://", plugins=[plugin]) as client:
        assert client.namespace == "default-plugged"
        assert plugin.hosts == ["sqlite://"]
        assert plugin.name().endswith("Renamer")
        assert client.config()["namespace"] == "default"
        assert client.config(active_config=True)["namespace"] == "default-plugged"
        assert Client(**client.config()).namespace == "default-plugged"
