"""What an error of Redis or of its driver means: away for now, no entry, or a refusal."""

from __future__ import annotations

import re
import ssl
from collections.abc import Iterator

from redis import exceptions as redis_errors

from hotmesh.exceptions import BackendAccessError, BackendError, BackendUnavailableError

_NOT_NOW_PREFIXES = ("MISCONF", "READONLY", "NOREPLICAS", "OOM", "LOADING", "MASTERDOWN", "BUSY")
_TOO_MANY = "max number of clients reached"
_NO_ENTRY = (
    redis_errors.AuthenticationError,
    redis_errors.AuthorizationError,
    redis_errors.NoPermissionError,
)
_NO_RIGHT_IN_SCRIPT = re.compile(r"ACL failure|user executing the script can't")
"""How a script is told, by the version of the server, what its user may not do."""

_PASSING_TLS = (ssl.SSLEOFError, ssl.SSLSyscallError, ssl.SSLZeroReturnError)
"""What a connection that broke in its handshake looks like."""


def connect_failure(where: str, error: BaseException, text: str) -> BackendError:
    """Why there is no connection.

    Args:
        where: The server.
        error: What redis-py raised.
        text: What it says, without secrets.
    """
    if isinstance(error, _NO_ENTRY):
        return BackendAccessError(f"Redis at {where} refuses the login: {text}")
    for each in _behind(error):
        if isinstance(each, ssl.SSLError) and not isinstance(each, _PASSING_TLS):
            return BackendAccessError(
                f"Redis at {where}: its certificate, or its TLS, is not accepted: {text}"
            )
    if isinstance(error, redis_errors.ResponseError) and not _passes(error):
        # To the choice of a database, for instance.
        return BackendAccessError(f"Redis at {where} does not let us in: {text}")
    return BackendUnavailableError(f"Redis at {where} can't be reached: {text}")


def call_failure(where: str, what: str, error: redis_errors.RedisError, text: str) -> BackendError:
    """What happened to a call.

    Args:
        where: The server.
        what: The command or the script.
        error: What redis-py raised.
        text: What it says, without secrets.
    """
    refusal = f"Redis at {where} refused {what!r}: {text.rstrip('.')}"
    if isinstance(error, redis_errors.AuthenticationError):
        return BackendAccessError(f"{refusal}. Put user and password into the URL")
    if isinstance(error, _NO_ENTRY) or _NO_RIGHT_IN_SCRIPT.search(text):
        return BackendAccessError(f"{refusal}. docs/operations.md lists the rights it needs")
    if isinstance(error, (redis_errors.ConnectionError, redis_errors.TimeoutError)):
        return BackendUnavailableError(
            f"Redis at {where}: connection lost during {what!r} ({text}); "
            "it may or may not have been applied"
        )
    return BackendUnavailableError(refusal) if _passes(error) else BackendError(refusal)


def _passes(error: redis_errors.RedisError) -> bool:
    """Whether a server that refuses may do it another time."""
    if isinstance(
        error,
        (
            redis_errors.OutOfMemoryError,
            redis_errors.ReadOnlyError,
            redis_errors.MasterDownError,
        ),
    ):
        return True
    return str(error).startswith(_NOT_NOW_PREFIXES) or _TOO_MANY in str(error)


def _behind(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
