"""What unit tests share: the implementations of the core."""

from types import ModuleType

import pytest

from unit.core import cores


@pytest.fixture(params=cores.NAMES, scope="session")
def core(request: pytest.FixtureRequest) -> ModuleType:
    """One implementation of the core: who asks for it runs on each that is installed."""
    return cores.load(request.param)
