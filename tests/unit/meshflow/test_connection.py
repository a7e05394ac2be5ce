"""Ways to say where the database is: all come down to a URL."""

import sqlite3
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import asyncpg
import pytest
import redis

from hotmesh.client import Client
from hotmesh.exceptions import InvalidArgumentError
from hotmesh.meshflow._connection import source

PG = "postgresql://usr:pwd@localhost:5432/db"


@pytest.mark.parametrize(
    ("connection", "url"),
    [
        (None, None),
        (PG, PG),
        ({"url": PG}, PG),
        ({"class": asyncpg.Connection, "options": {"connectionString": PG}}, PG),
        ({"class": asyncpg, "options": {"connection_string": PG}}, PG),
        ({"class": asyncpg.Pool, "options": {"dsn": PG}}, PG),
        ({"class": "psycopg", "options": {"conninfo": PG}}, PG),
        (
            {
                "class": asyncpg.Connection,
                "options": {
                    "host": "db.example",
                    "port": 5433,
                    "user": "me@here",
                    "password": "p/w:d",
                    "database": "a b",
                    "sslmode": "require",
                },
            },
            "postgresql://me%40here:p%2Fw%3Ad@db.example:5433/a%20b?sslmode=require",
        ),
        (
            {"class": asyncpg, "options": {"host": "/run/postgresql", "database": "db"}},
            "postgresql:///db?host=%2Frun%2Fpostgresql",
        ),
        ({"class": redis.Redis, "options": {"host": "::1", "db": 2}}, "redis://[::1]/2"),
        (
            {"class": redis.asyncio.Redis, "options": {"host": "h", "password": "s"}},
            "redis://:s@h",
        ),
        ({"class": redis.Redis, "options": {}}, "redis://localhost"),
        ({"class": sqlite3, "options": {"database": "a.db"}}, "sqlite:///a.db"),
        ({"class": sqlite3.Connection, "options": {"database": ":memory:"}}, "sqlite://"),
    ],
)
def test_what_leads_to_a_url(connection: Any, url: str | None) -> None:
    assert source(connection) == url


@pytest.mark.parametrize(
    ("connection", "says"),
    [
        (7, "not a builtins.int"),
        ({}, "needs 'url'"),
        ({"url": 7}, "'url' must be text"),
        ({"url": PG, "urls": PG}, "unknown 'urls', did you mean 'url'"),
        ({"klass": asyncpg}, "unknown 'klass', did you mean 'class'"),
        ({"class": dict, "options": {}}, "no database is known"),
        ({"class": asyncpg, "options": PG}, "'options' must be a dict"),
        ({"class": asyncpg, "options": {"dsn": PG, "host": "h"}}, "'dsn' says everything"),
    ],
)
def test_what_leads_nowhere_is_refused(connection: Any, says: str) -> None:
    with pytest.raises(InvalidArgumentError, match=says):
        source(connection)


async def test_an_open_client_of_the_sdk_is_itself() -> None:
    async with await Client.connect("sqlite://") as client:
        assert source(client) is client


def test_an_open_client_of_redis_gives_its_address() -> None:
    client = redis.Redis(host="h", port=7, db=3, username="u", password="p")
    assert source(client) == "redis://u:p@h:7/3"


def test_an_open_sqlite_connection_gives_its_file(tmp_path: Path) -> None:
    file = tmp_path / "some.db"
    connection = sqlite3.connect(file)
    assert source(connection) == f"sqlite:///{file}"
    connection.close()


async def test_an_open_asyncpg_connection_gives_its_address(postgres_url: str) -> None:
    session = await asyncpg.connect(postgres_url)
    try:
        found = source(session)
        assert isinstance(found, str)
        again = await asyncpg.connect(found)
        assert await again.fetchval("SELECT current_database()") == postgres_url.rpartition("/")[2]
        await again.close()
    finally:
        await session.close()


async def test_a_pool_of_asyncpg_gives_what_it_connects_with(postgres_url: str) -> None:
    async with asyncpg.create_pool(postgres_url, min_size=1) as pool:
        assert source(pool) == postgres_url
    parts = asyncpg.create_pool(host="h", port=1, user="u", password="p@", database="d")
    assert source(parts) == "postgresql://u:p%40@h:1/d"


def test_a_pool_of_redis_gives_its_address() -> None:
    assert source(redis.ConnectionPool(host="h", port=1, db=2)) == "redis://h:1/2"


def test_other_open_clients_by_what_they_say_of_themselves() -> None:
    info = SimpleNamespace(host="h", port=1, user="u", password="", dbname="d")
    psycopg = type("Connection", (), {"__module__": "psycopg", "info": info})
    assert source(psycopg()) == "postgresql://u@h:1/d"
    url = SimpleNamespace(render_as_string=lambda **_: "postgresql+asyncpg://u:p@h/d")
    engine = type("Engine", (), {"__module__": "sqlalchemy.engine", "url": url})
    assert source(engine()) == "postgresql+asyncpg://u:p@h/d"
