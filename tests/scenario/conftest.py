"""Users with just the rights that the documents name."""

from __future__ import annotations

import re
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import asyncpg
import pytest
import redis

from hotmesh.backends.registry import backend_for
from tidy.tree import ROOT

OPERATIONS = (Path(ROOT) / "docs/operations.md").read_text("utf-8")


@pytest.fixture
def redis_user(redis_url: str) -> Iterator[tuple[Any, str]]:
    """The server, and the URL of a user with the rights that the documents name."""
    parts = urlsplit(redis_url)
    (prefix,) = parse_qs(parts.query)["prefix"]
    (rule,) = re.findall(r"ACL SETUSER (.*)", OPERATIONS)
    words = rule.replace("{hotmesh", f"{{{prefix}").replace("&hotmesh", f"&{prefix}").split()
    name = f"user-{uuid.uuid4().hex}"
    with redis.Redis.from_url(redis_url.partition("?")[0]) as server:
        server.execute_command("ACL SETUSER", name, *words[1:])
        try:
            yield server, parts._replace(netloc=f"{name}:secret@{parts.netloc}").geturl()
        finally:
            server.acl_deluser(name)


@pytest.fixture
async def postgres_user(postgres_url: str) -> AsyncIterator[tuple[Any, str]]:
    """A connection of the owner, and the URL of a user with the rights that the documents name."""
    owner = backend_for(postgres_url)
    await owner.connect()
    await owner.close()
    name = f"user_{uuid.uuid4().hex}"
    server = await asyncpg.connect(postgres_url)
    for statement in re.findall(r"^ {4}((?:CREATE ROLE|GRANT) .*;)$", OPERATIONS, re.MULTILINE):
        await server.execute(re.sub(r"\bapp\b", name, statement))
    parts = urlsplit(postgres_url)
    yield server, parts._replace(netloc=f"{name}:secret@{parts.netloc.rpartition('@')[2]}").geturl()
    await server.execute(f"DROP OWNED BY {name}")
    await server.execute(f"DROP ROLE {name}")
    await server.close()
