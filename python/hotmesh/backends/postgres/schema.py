"""The stored schema: made on first use, brought forward under a lock, refused when newer."""

from __future__ import annotations

import logging

import asyncpg

from hotmesh.backends.postgres.address import Address
from hotmesh.backends.postgres.link import Connection, Link
from hotmesh.backends.postgres.statements import (
    functions_script,
    migrations,
    schema_script,
    statements,
)
from hotmesh.exceptions import BackendAccessError, BackendError, SchemaVersionError

_log = logging.getLogger(__name__)

SCHEMA_VERSION = 1
"""Version of the tables and functions this code works with; any change to them adds one."""


async def ensure_schema(link: Link, address: Address) -> None:
    """Make or migrate the schema; at once when it is up to date.

    Raises:
        SchemaVersionError: The stored schema is newer than this code.
        BackendError: It can't be made, e.g. for want of a privilege.
        BackendUnavailableError: The connection broke.
    """
    named = statements(address.schema)
    try:
        async with link.transaction() as connection:
            if await _stored_version(connection, address, named) == SCHEMA_VERSION:
                return
            await connection.execute(named["schema_lock"], address.lock_key("schema"))
            await _bring_forward(connection, address, named)
    except asyncpg.InsufficientPrivilegeError as error:
        raise BackendAccessError(
            f"Can't make or use the schema {address.schema!r} at {address.shown}: {error}. Grant "
            "the user CREATE on the database, or make the schema as its owner and grant USAGE on "
            "it and rights on what is in it (docs/operations.md has the list)."
        ) from error
    except asyncpg.PostgresError as error:
        raise BackendError(
            f"Can't make the schema {address.schema!r} at {address.shown}: {error}"
        ) from error


async def schema_exists(link: Link, address: Address) -> bool:
    """Whether the schema was ever made.

    Raises:
        BackendUnavailableError: It can't be reached.
        BackendAccessError: It does not let us in.
    """
    return bool(await link.value("schema_exists", address.schema))


async def _stored_version(connection: Connection, address: Address, named: dict[str, str]) -> int:
    """The version that is there; 0 when there is none."""
    if not await connection.fetchval(named["schema_exists"], address.schema):
        return 0
    found: int = await connection.fetchval(named["schema_version"])
    if found > SCHEMA_VERSION:
        raise SchemaVersionError(found, SCHEMA_VERSION)
    return found


async def _bring_forward(connection: Connection, address: Address, named: dict[str, str]) -> None:
    # Once more, for another process may have been faster.
    found = await _stored_version(connection, address, named)
    if found == SCHEMA_VERSION:
        return
    if found == 0:
        if await connection.fetchval(named["schema_absent"], address.schema):
            await connection.execute(named["schema_create"])
        await connection.execute(schema_script(address.schema))
    else:
        steps = migrations(address.schema)
        for version in range(found + 1, SCHEMA_VERSION + 1):
            if version in steps:
                await connection.execute(steps[version])
    await connection.execute(functions_script(address.schema))
    await connection.execute(named["schema_stamp"], SCHEMA_VERSION)
    _log.info("schema %s brought from version %d to %d", address.schema, found, SCHEMA_VERSION)
