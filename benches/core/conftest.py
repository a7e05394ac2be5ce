"""The two cores, each part of which is measured in both."""

import importlib
import importlib.util
from types import ModuleType

import pytest

HAS_RUST = importlib.util.find_spec("hotmesh._core") is not None
MODULES = {"python": "hotmesh.core._python", "rust": "hotmesh._core"}


@pytest.fixture(params=["python", "rust"] if HAS_RUST else ["python"])
def core(request: pytest.FixtureRequest) -> ModuleType:
    """One of the cores that are installed."""
    return importlib.import_module(MODULES[request.param])
