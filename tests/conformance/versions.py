"""Makes a stored schema look newer than the code, in each backend's own way."""

import sqlite3
from contextlib import closing
from urllib.parse import parse_qs, urlsplit

import asyncpg
import redis.asyncio


async def age_schema(url: str, version: int) -> None:
    """Stamp the schema at `url` with another version."""
    match urlsplit(url).scheme:
        case "sqlite":
            with closing(sqlite3.connect(urlsplit(url).path[1:])) as connection:
                connection.execute(f"PRAGMA user_version = {version}")
        case "postgresql" | "postgres":
            session = await asyncpg.connect(url)
            await session.execute("UPDATE hotmesh.meta SET version = $1", version)
            await session.close()
        case "redis":
            (prefix,) = parse_qs(urlsplit(url).query)["prefix"]
            async with redis.asyncio.from_url(url.partition("?")[0]) as client:
                key = f"{{{prefix}}}:schema"
                assert await client.exists(key)
                await client.set(key, version)
        case scheme:
            raise AssertionError(f"no way is known to age the schema of {scheme}")
