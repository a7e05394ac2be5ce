"""A private Postgres with what a real one confirms, and databases made on it.

Tests kill its processes, not the machine, so what it has written need not be forced onto the disk.
Measurements want it to be, as everywhere.
"""

import signal
import struct
from pathlib import Path

from support.processes import HOST, Server, connection, find_binary

PASSWORDLESS_USER = "hotmesh"
MAX_CONNECTIONS = 300
PROTOCOL_3 = 196_608


def binary(name: str) -> Path:
    """Return the newest installed Postgres's `name`, Debian's before PATH's."""
    installed = Path("/usr/lib/postgresql").glob("*/bin")
    newest_first = sorted(installed, key=lambda path: int(path.parent.name), reverse=True)
    return find_binary(name, "postgresql", *newest_first)


class PostgresServer(Server):
    """Postgres on a port and a unix socket; the user `hotmesh` may do everything."""

    name = "postgres"
    stop_signal = signal.SIGINT  # "fast": ends sessions, writes a checkpoint
    fsync = "off"

    @property
    def url(self) -> str:
        """The maintenance database's URL."""
        return self.url_of("postgres")

    @property
    def socket_directory(self) -> Path:
        """Where the unix socket lies."""
        return self.directory

    def url_of(self, database: str) -> str:
        """The URL of another database of this server."""
        return f"postgresql://{PASSWORDLESS_USER}@{HOST}:{self.port}/{database}"

    @property
    def _data(self) -> Path:
        return self.directory / "data"

    def _prepare(self) -> None:
        if (self._data / "PG_VERSION").exists():
            return
        initdb = [str(binary("initdb")), "--pgdata", str(self._data), "--auth", "trust"]
        options = ["--username", PASSWORDLESS_USER, "--encoding", "UTF8", "--no-locale"]
        self._run([*initdb, *options, "--no-sync"])

    def _command(self) -> list[str]:
        settings = {
            "listen_addresses": HOST,
            "port": self.port,
            "unix_socket_directories": self.socket_directory,
            "fsync": self.fsync,
            "synchronous_commit": "on",
            "max_connections": MAX_CONNECTIONS,
            "shared_buffers": "64MB",
            "log_min_messages": "warning",
        }
        command = [str(binary("postgres")), "-D", str(self._data)]
        return command + [f"--{name}={value}" for name, value in settings.items()]

    def _answers(self) -> bool:
        """Open a session by hand, for a listening Postgres may still refuse (recovery)."""
        fields = b"user\0%b\0database\0postgres\0\0" % PASSWORDLESS_USER.encode()
        hello = struct.pack("!ii", len(fields) + 8, PROTOCOL_3) + fields
        with connection(self.port) as session:
            session.sendall(hello)
            return session.recv(1) == b"R"  # an authentication answer; "E" while it recovers


class DurablePostgresServer(PostgresServer):
    """One whose commits are on the disk, as by default."""

    fsync = "on"
