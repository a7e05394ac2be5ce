"""What a client is made from: its configuration, its URL, its connection through plugins."""

from __future__ import annotations

import logging
import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypedDict

from hotmesh.backends.protocol import Backend
from hotmesh.client._connection import Connection
from hotmesh.client._interceptor import Interceptor
from hotmesh.client._plugin import ConnectConfig, Plugin
from hotmesh.common import HeaderCodecBehavior, QueryRejectCondition
from hotmesh.converter import DataConverter
from hotmesh.exceptions import InvalidArgumentError
from hotmesh.limits import PAYLOAD_BYTES_CEILING, PAYLOAD_BYTES_MAX

URL_VARIABLE = "HOTMESH_URL"
URL_DEFAULT = "sqlite:///hotmesh.db"
"""Where ``Client.connect()`` looks for its URL, and the URL if there is none."""

_log = logging.getLogger(__name__)


class ClientConfig(TypedDict, total=False):
    """What a client is made from: ``Client(**config)``."""

    service_client: Connection
    namespace: str
    data_converter: DataConverter
    plugins: Sequence[Plugin]
    interceptors: Sequence[Interceptor]
    default_workflow_query_reject_condition: QueryRejectCondition | None
    header_codec_behavior: HeaderCodecBehavior
    payload_limit: int


class ClientConnectConfig(TypedDict, total=False):
    """What a client is connected with: ``Client.connect(**config)``."""

    url: str | None
    target_host: str | None
    namespace: str
    data_converter: DataConverter
    plugins: Sequence[Plugin]
    interceptors: Sequence[Interceptor]
    default_workflow_query_reject_condition: QueryRejectCondition | None
    header_codec_behavior: HeaderCodecBehavior
    payload_limit: int
    identity: str | None
    lazy: bool
    api_key: str | None
    tls: Any
    retry_config: Any
    keep_alive_config: Any
    rpc_metadata: Mapping[str, str | bytes]
    runtime: Any
    http_connect_proxy_config: Any
    dns_load_balancing_config: Any
    grpc_compression: Any
    payload_limits: Any


def chosen_url(url: str | None) -> str:
    """The URL given, else the environment's, else the default."""
    return url or os.environ.get(URL_VARIABLE) or URL_DEFAULT


async def connect(plugins: Sequence[Plugin], config: ConnectConfig) -> Connection:
    """Connect, each plugin around those after it."""
    opened = _open
    for plugin in reversed(plugins):
        opened = _through(plugin, opened)
    return await opened(config)


async def _open(config: ConnectConfig) -> Connection:
    connection = Connection.to(config.target_host, identity=config.identity)
    if not config.lazy:
        await connection.open()
    return connection


def _through(
    plugin: Plugin, connect: Callable[[ConnectConfig], Awaitable[Connection]]
) -> Callable[[ConnectConfig], Awaitable[Connection]]:
    async def connect_through(config: ConnectConfig) -> Connection:
        return await plugin.connect_service_client(config, connect)

    return connect_through


def check_limit(limit: int, backend: Backend) -> None:
    """Refuse a payload limit that the backend can't hold.

    Raises:
        InvalidArgumentError: It is too large, below 1, or no whole number.
    """
    ceiling = PAYLOAD_BYTES_CEILING.get(backend.name, PAYLOAD_BYTES_MAX)
    if not isinstance(limit, int) or not 1 <= limit <= ceiling:  # pyright: ignore[reportUnnecessaryIsInstance]
        raise InvalidArgumentError(
            f"payload_limit must be between 1 and {ceiling} bytes on {backend.name}, not {limit!r}"
        )


def log_ignored(**arguments: Any) -> None:
    """Log the arguments that were given though only a server would use them."""
    for name, value in arguments.items():
        if value:
            _log.debug("Client.connect ignores %s: there is no server to give it to", name)


def warn_of_tls(tls: Any, url: str) -> None:
    """Say that TLS was asked for where it is not to be had, unless nothing leaves the machine."""
    if tls and not url.lower().startswith("sqlite:"):
        _log.warning(
            "Client.connect ignores tls: ask for TLS in the URL, with sslmode=verify-full for "
            "Postgres, with rediss:// for Redis"
        )
