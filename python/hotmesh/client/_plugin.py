"""Client plugins: they change a client's configuration and see it connect."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hotmesh.client._configure import ClientConfig
    from hotmesh.client._connection import Connection


@dataclass
class ConnectConfig:
    """What a connection is made from."""

    target_host: str
    """The database's URL."""
    identity: str | None = None
    lazy: bool = False


class Plugin(ABC):
    """Base of client plugins. Workers refuse a client with one that is a worker plugin too."""

    def name(self) -> str:
        """The plugin's name; its class's full name unless overridden."""
        return f"{type(self).__module__}.{type(self).__qualname__}"

    @abstractmethod
    def configure_client(self, config: ClientConfig) -> ClientConfig:
        """Change a client's configuration before the client is made.

        Args:
            config: As given to the client, or as the plugin before left it.

        Returns:
            What the client uses.
        """

    @abstractmethod
    async def connect_service_client(
        self,
        config: ConnectConfig,
        next: Callable[[ConnectConfig], Awaitable[Connection]],  # noqa: A002
    ) -> Connection:
        """Take part in connecting.

        Args:
            config: What to connect to.
            next: Connects; call it and return what it returns.
        """
