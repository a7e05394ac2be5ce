"""Every test of the core runs on each implementation that is installed."""

from types import ModuleType

import pytest

from unit.core import cores

# The pure wheel has no extension to compare with.
collect_ignore = [] if cores.HAS_RUST else ["test_twins.py"]


@pytest.fixture(params=cores.NAMES, scope="session")
def core(request: pytest.FixtureRequest) -> ModuleType:
    """One implementation of the core."""
    return cores.load(request.param)
