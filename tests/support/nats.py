"""A private NATS server (core publish and subscribe; no JetStream)."""

from support.processes import HOST, Server, connection, find_binary


class NatsServer(Server):
    """nats-server on a port of its own."""

    name = "nats"

    @property
    def url(self) -> str:
        """The client port."""
        return f"nats://{HOST}:{self.port}"

    def _command(self) -> list[str]:
        command = str(find_binary("nats-server", "nats-server"))
        return [command, "--addr", HOST, "--port", str(self.port)]

    def _answers(self) -> bool:
        with connection(self.port) as session:
            return session.recv(4) == b"INFO"
