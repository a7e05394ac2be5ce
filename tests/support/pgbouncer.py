"""A private PgBouncer in front of a Postgres."""

from pathlib import Path
from urllib.parse import urlsplit

from support.postgres import PASSWORDLESS_USER
from support.processes import HOST, Server, connection, find_binary

SERVER_CONNECTIONS = 5
"""Fewer than the clients that come, so that they do share."""


class PgBouncerServer(Server):
    """PgBouncer as its users run it: few connections to the server, many to it.

    Args:
        url: Of a database on the Postgres behind it.
        mode: Whether clients share servers by transaction, or have one for their session.
    """

    name = "pgbouncer"

    def __init__(self, url: str, mode: str = "transaction") -> None:
        super().__init__()
        self._parts = urlsplit(url)
        self._mode = mode

    @property
    def url(self) -> str:
        """The database's URL, through the pooler."""
        return f"postgresql://{PASSWORDLESS_USER}@{HOST}:{self.port}{self._parts.path}"

    @property
    def _configuration(self) -> Path:
        return self.directory / "pgbouncer.ini"

    def _prepare(self) -> None:
        settings = {
            "listen_addr": HOST,
            "listen_port": self.port,
            "unix_socket_dir": "",
            "auth_type": "any",
            "pool_mode": self._mode,
            "default_pool_size": SERVER_CONNECTIONS if self._mode == "transaction" else 100,
            "max_client_conn": 200,
        }
        lines = [
            "[databases]",
            f"* = host={HOST} port={self._parts.port} user={PASSWORDLESS_USER}",
            "[pgbouncer]",
            *(f"{name} = {value}" for name, value in settings.items()),
        ]
        self._configuration.write_text("\n".join(lines) + "\n")

    def _command(self) -> list[str]:
        return [str(find_binary("pgbouncer", "pgbouncer")), str(self._configuration)]

    def _answers(self) -> bool:
        with connection(self.port):
            return True
