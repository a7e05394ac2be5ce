"""Routers in miniature for tests, on each implementation of the core."""

from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

from unit.router.miniature import Miniature, Place, Time, stand_in


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch, core: ModuleType) -> Time:
    """All clocks there are, standing still; the router uses the core of the test."""
    found = Time()
    stand_in(monkeypatch, core, found)
    return found


@pytest.fixture
def place(time: Time) -> Place:
    """An empty store."""
    return Place(time)


@pytest.fixture
def make(place: Place, time: Time, core: ModuleType) -> Callable[..., Miniature]:
    """Makes routers on that store: another one stands for another worker."""

    def made(*codes: Any, **changes: Any) -> Miniature:
        return Miniature(place, time, core, *codes, **changes)

    return made
