"""The private servers of the tests, for tests to import and for people to start by hand.

`python tests/servers.py postgres redis` prints their URLs and runs until Ctrl-C.
"""

import argparse
import signal
from typing import Protocol

from support.nats import NatsServer
from support.postgres import DurablePostgresServer, PostgresServer
from support.processes import Server, ServerError
from support.redis import RedisCluster, RedisServer

__all__ = [
    "DurablePostgresServer",
    "NatsServer",
    "PostgresServer",
    "RedisCluster",
    "RedisServer",
    "RunningServer",
    "Server",
    "ServerError",
]


class RunningServer(Protocol):
    """What a test may do with a server, be it one process or a cluster."""

    name: str

    @property
    def url(self) -> str: ...
    def start(self) -> None: ...
    def stop(self) -> None: ...
    def kill9(self) -> None: ...
    def restart(self, *, kill9: bool = False) -> None: ...
    def close(self) -> None: ...


KINDS: dict[str, type[RunningServer]] = {
    "postgres": PostgresServer,
    "redis": RedisServer,
    "redis_cluster": RedisCluster,
    "nats": NatsServer,
}


def main() -> None:
    """Start the named servers, say where they are, and delete them at Ctrl-C."""
    parser = argparse.ArgumentParser(description="Start private servers for the tests.")
    parser.add_argument("kinds", nargs="+", choices=sorted(KINDS), metavar="KIND")
    servers = [KINDS[kind]() for kind in parser.parse_args().kinds]
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        for server in servers:
            server.start()
            print(f"{server.name:14} {server.url}", flush=True)
        print("Ctrl-C ends them and deletes their data.", flush=True)
        signal.pause()
    except KeyboardInterrupt:
        print("Ending the servers.")
    finally:
        for server in servers:
            server.close()


if __name__ == "__main__":
    main()
