"""What an error of Postgres or its driver means: away for now, no entry, or a wrong parameter."""

from __future__ import annotations

import re
import ssl

import asyncpg

from hotmesh.backends.postgres.address import Address, Place
from hotmesh.backends.postgres.parameters import refuse, unknown
from hotmesh.exceptions import (
    BackendAccessError,
    BackendUnavailableError,
    HotMeshError,
    InvalidArgumentError,
)

LOST = (
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,  # it stops, starts, or cancels what takes too long
    asyncpg.InsufficientResourcesError,  # connections, memory, disk
    asyncpg.PostgresIOError,  # the disk is not well
    asyncpg.ReadOnlySQLTransactionError,  # it is, or has just become, a standby
    OSError,  # TimeoutError is one
)
"""What passes, or what another connection does not meet."""

DRIVER_ERRORS = (asyncpg.InterfaceError, asyncpg.InternalClientError)
"""What the driver itself raises; on a connection that broke, either of the two."""

_PASSING = (
    *LOST,
    asyncpg.TransactionRollbackError,
    asyncpg.ObjectInUseError,  # the database is being copied, for instance
    asyncpg.PostgresSystemError,
    asyncpg.InternalServerError,
)
"""What may be said to one who connects and not to the next: a server in trouble. All else that it
answers is about what was asked for: the user, the password, the database, an option."""

_TURNED_AWAY_BY_POOLER = re.compile(
    r"no such (database|user)|authentication failed|not allowed|password|no authentication method",
    re.I,
)
_PASSING_TLS = (ssl.SSLEOFError, ssl.SSLSyscallError, ssl.SSLZeroReturnError)
"""What a connection that broke in its handshake looks like."""

_UNKNOWN_SETTING = re.compile(r'unrecognized configuration parameter "([^"]+)"')
_UNKNOWN_TO_POOLER = re.compile(r"unsupported startup parameter(?: in options)?: (\S+)")
_SETTING = re.compile(r'parameter "([^"]+)"')
_NO_TLS = "rejected SSL upgrade"


def unavailable(address: Address, error: BaseException) -> BackendUnavailableError:
    """The error that says that Postgres can't be reached."""
    reason = address.redaction.hide(str(error) or type(error).__name__)
    return BackendUnavailableError(f"Postgres at {address.shown} is not available: {reason}")


def connect_failure(address: Address, place: Place | None, error: BaseException) -> HotMeshError:
    """Why there is no connection; raise it outside of the ``except`` block of the error.

    Args:
        address: Where to.
        place: The host; None if the driver chose it.
        error: What the driver raised.
    """
    failure = (
        _wrong_parameter(address, place, error)
        or _turned_away(address, error)
        or unavailable(address, error)
    )
    address.redaction.because(failure, error)
    return failure


def _wrong_parameter(
    address: Address, place: Place | None, error: BaseException
) -> HotMeshError | None:
    text = address.redaction.hide(str(error))
    if isinstance(error, asyncpg.UndefinedObjectError) and (found := _UNKNOWN_SETTING.search(text)):
        return unknown(found[1])
    if isinstance(error, asyncpg.ProtocolViolationError) and (
        found := _UNKNOWN_TO_POOLER.search(text)
    ):
        return refuse(found[1], "the pooler in between does not take it")
    if isinstance(error, (asyncpg.DataError, asyncpg.CantChangeRuntimeParamError)):
        name = _SETTING.search(text)
        return refuse(name[1] if name else "a setting", text)
    if isinstance(error, ValueError) and not isinstance(error, OSError):  # an SSLError may be both
        return InvalidArgumentError(f"The Postgres URL {address.shown} can't be used: {text}")
    on_socket = place is None or place[0].startswith("/")
    if not on_socket and isinstance(
        error, (FileNotFoundError, NotADirectoryError, PermissionError)
    ):
        return InvalidArgumentError(
            f"A file that the Postgres URL {address.shown} names can't be read: {text}"
        )
    return None


def _turned_away(address: Address, error: BaseException) -> BackendAccessError | None:
    text = address.redaction.hide(str(error) or type(error).__name__)
    if isinstance(error, ssl.SSLError) and not isinstance(error, _PASSING_TLS):
        text = f"its certificate, or its TLS, is not accepted: {text}"
    elif isinstance(error, ConnectionError) and _NO_TLS in text:
        text = f"it has no TLS, which the URL asks for: {text}"
    elif isinstance(error, asyncpg.ProtocolViolationError):
        if not _TURNED_AWAY_BY_POOLER.search(text):
            return None
    elif not isinstance(error, asyncpg.PostgresError) or isinstance(error, _PASSING):
        return None
    return BackendAccessError(f"Postgres at {address.shown} does not let us in: {text}")
