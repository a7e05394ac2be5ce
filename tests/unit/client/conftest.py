"""A client on SQLite in memory, and hands that answer it."""

from collections.abc import AsyncIterator

import pytest

from hotmesh.client import Client
from unit.client.hands import Hands


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    async with await Client.connect("sqlite://") as connected:
        yield connected


@pytest.fixture
async def hands(client: Client) -> AsyncIterator[Hands]:
    made = Hands(client)
    await made.join()
    yield made
    await made.leave()
