"""Private servers that ask for passwords and speak TLS, under certificates of their own."""

from __future__ import annotations

import subprocess
from pathlib import Path

from support.postgres import PostgresServer
from support.processes import HOST, Server, find_binary, free_port
from support.redis import RedisServer

PASSWORD = "correct-horse"
GUARDED = "guarded"
"""A user of Postgres who needs the password."""
ENCRYPTED = "encrypted"
"""A user of Postgres who may come over TLS alone."""

_HBA = f"""
host      all {GUARDED}   {HOST}/32 scram-sha-256
hostnossl all {ENCRYPTED} {HOST}/32 reject
"""


class _Certified(Server):
    """A server with a certificate."""

    @property
    def certificate(self) -> Path:
        """What a client must trust."""
        return self.directory / "certificate.pem"

    @property
    def key(self) -> Path:
        """What the server has for itself."""
        return self.directory / "key.pem"

    def _prepare(self) -> None:
        super()._prepare()
        make_certificate(self.certificate, self.key)
        self._own(self.certificate)
        self._own(self.key)


class SecuredPostgres(_Certified, PostgresServer):
    """Postgres with TLS, and with users that not everybody may be."""

    name = "postgres-secured"

    def _prepare(self) -> None:
        super()._prepare()
        rules = self._data / "pg_hba.conf"
        rules.write_text(_HBA + rules.read_text())

    def _command(self) -> list[str]:
        return [
            *super()._command(),
            "--ssl=on",
            f"--ssl_cert_file={self.certificate}",
            f"--ssl_key_file={self.key}",
        ]


class SecuredRedis(_Certified, RedisServer):
    """Redis with a port for TLS beside its usual one."""

    name = "redis-secured"

    def __init__(self) -> None:
        super().__init__()
        self.tls_port = free_port()

    @property
    def tls_url(self) -> str:
        """Database 0, over TLS."""
        return f"rediss://{HOST}:{self.tls_port}/0"

    def _command(self) -> list[str]:
        options = {
            "tls-port": self.tls_port,
            "tls-cert-file": self.certificate,
            "tls-key-file": self.key,
            "tls-auth-clients": "no",
        }
        words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
        return [*super()._command(), *words]


def make_certificate(certificate: Path, key: Path) -> None:
    """Make one for this machine that nobody has signed but itself."""
    openssl = find_binary("openssl", "openssl")
    subprocess.run(
        [
            str(openssl), "req", "-x509", "-newkey", "ec", "-pkeyopt",
            "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj", "/CN=hotmesh",
            "-addext", f"subjectAltName=IP:{HOST}", "-keyout", str(key), "-out", str(certificate),
        ],
        check=True,
        capture_output=True,
    )  # fmt: skip
