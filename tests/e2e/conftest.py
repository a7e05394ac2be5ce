"""Clients of the end-to-end tests."""

from collections.abc import AsyncIterator

import pytest

from hotmesh.client import Client


@pytest.fixture
async def client(sqlite_url: str) -> AsyncIterator[Client]:
    """A client of an empty SQLite database: for what no backend has a say in."""
    async with await Client.connect(sqlite_url) as connected:
        yield connected


@pytest.fixture
async def any_client(database_url: str) -> AsyncIterator[Client]:
    """A client of an empty place on each backend in turn."""
    async with await Client.connect(database_url) as connected:
        yield connected
