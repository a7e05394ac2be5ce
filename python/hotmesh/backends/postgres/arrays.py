"""Array arguments and results by our core.

asyncpg asks of each element of an array whether it is an array itself, at the price of several
calls of Python: more than the rest of a step's arguments together.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import asyncpg

from hotmesh.core import decode_array, encode_array

if TYPE_CHECKING:
    Connection = asyncpg.Connection[asyncpg.Record]
else:
    Connection = asyncpg.Connection

_ARRAYS = (
    ("_bool", 1000, 16),
    ("_bytea", 1001, 17),
    ("_int8", 1016, 20),
    ("_int4", 1007, 23),
    ("_text", 1009, 25),
)
"""Name and object id of the array type, object id of the element's; the same in all of Postgres
(https://github.com/postgres/postgres/blob/master/src/include/catalog/pg_type.dat)."""


def use_own_arrays(connection: Connection) -> None:
    """Have a new connection write and read these arrays with our core."""
    settings = connection.get_settings()
    for name, array, element in _ARRAYS:
        settings.add_python_codec(
            array,
            name,
            "pg_catalog",
            (),
            "scalar",
            functools.partial(encode_array, element),
            decode_array,
            "binary",
        )
