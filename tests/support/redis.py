"""A private Redis that loses nothing (append-only file, fsync always), alone or as a cluster."""

from support.processes import HOST, Server, connection, find_binary, wait_until

SLOT_COUNT = 16_384
CLUSTER_TIMEOUT_S = 60.0


class RedisServer(Server):
    """One Redis on a port of its own."""

    name = "redis"
    cluster = False

    @property
    def url(self) -> str:
        """Database 0."""
        return f"redis://{HOST}:{self.port}/0"

    def call(self, *words: object) -> bytes:
        """Send one command and return the raw start of its answer."""
        parts = [str(word).encode() for word in words]
        request = b"*%d\r\n" % len(parts)
        request += b"".join(b"$%d\r\n%b\r\n" % (len(part), part) for part in parts)
        with connection(self.port) as session:
            session.sendall(request)
            return session.recv(65_536)

    def _command(self) -> list[str]:
        options = {
            "bind": HOST,
            "port": self.port,
            "dir": self.directory,
            "appendonly": "yes",
            "appendfsync": "always",
            "save": "",
            "maxmemory-policy": "noeviction",
            "cluster-enabled": "yes" if self.cluster else "no",
        }
        command = [str(find_binary("redis-server", "redis-server"))]
        return command + [word for name, value in options.items() for word in _option(name, value)]

    def _answers(self) -> bool:
        return self.call("PING").startswith(b"+PONG")  # "-LOADING" while it reads its file


class RedisReplica(RedisServer):
    """A copy of another Redis.

    Args:
        master: The other one.
    """

    name = "redis-replica"

    def __init__(self, master: RedisServer) -> None:
        super().__init__()
        self._master = master

    def _command(self) -> list[str]:
        return [*super()._command(), "--replicaof", f"{HOST} {self._master.port}"]


class RedisSentinel(RedisServer):
    """A sentinel that alone decides on who is master.

    Args:
        master: The first master.
    """

    name = "redis-sentinel"
    service = "mine"

    def __init__(self, master: RedisServer) -> None:
        super().__init__()
        self._master = master

    @property
    def url(self) -> str:
        """The master's URL, by the sentinel."""
        return f"redis+sentinel://{HOST}:{self.port}/{self.service}/0"

    def _prepare(self) -> None:
        lines = [
            f"port {self.port}",
            f"bind {HOST}",
            f"dir {self.directory}",
            f"sentinel monitor {self.service} {HOST} {self._master.port} 1",
            f"sentinel down-after-milliseconds {self.service} 500",
            f"sentinel failover-timeout {self.service} 2000",
        ]
        file = self.directory / "sentinel.conf"
        file.write_text("\n".join(lines) + "\n")
        self._own(file)

    def _command(self) -> list[str]:
        binary = find_binary("redis-server", "redis-server")
        return [str(binary), str(self.directory / "sentinel.conf"), "--sentinel"]


class RedisClusterNode(RedisServer):
    """One master of a `RedisCluster`."""

    name = "redis-cluster"
    cluster = True


class RedisCluster:
    """Three masters, each with a third of the slots; no replicas."""

    name = "redis_cluster"

    def __init__(self) -> None:
        self.nodes = [RedisClusterNode() for _ in range(3)]
        self._formed = False

    @property
    def url(self) -> str:
        """The first node's URL; a cluster client finds the others."""
        return self.nodes[0].url

    def start(self) -> None:
        """Start all nodes, form the cluster once, and return when every node says it is up."""
        for node in self.nodes:
            node.start()
        if not self._formed:
            self._form()
            self._formed = True
        wait_until(self._is_up, CLUSTER_TIMEOUT_S, "redis_cluster: slots not served everywhere")

    def stop(self) -> None:
        """Stop every node in good order."""
        for node in self.nodes:
            node.stop()

    def kill9(self) -> None:
        """Kill every node."""
        for node in self.nodes:
            node.kill9()

    def restart(self, *, kill9: bool = False) -> None:
        """Stop or kill all nodes, and start them again on the same data and ports."""
        if kill9:
            self.kill9()
        else:
            self.stop()
        self.start()

    def close(self) -> None:
        """Stop the nodes and delete their data."""
        for node in self.nodes:
            node.close()

    def _form(self) -> None:
        share = SLOT_COUNT / len(self.nodes)
        for index, node in enumerate(self.nodes):
            first, last = round(index * share), round((index + 1) * share) - 1
            node.call("CLUSTER", "ADDSLOTS", *range(first, last + 1))
            node.call("CLUSTER", "SET-CONFIG-EPOCH", index + 1)
        for node in self.nodes[1:]:
            self.nodes[0].call("CLUSTER", "MEET", HOST, node.port)

    def _is_up(self) -> bool:
        wanted = (b"cluster_state:ok", b"cluster_known_nodes:%d" % len(self.nodes))
        answers = [node.call("CLUSTER", "INFO") for node in self.nodes]
        return all(part in answer for answer in answers for part in wanted)


def _option(name: str, value: object) -> list[str]:
    return [f"--{name}", str(value)]
