"""The implementations of the core that this installation has."""

import importlib
import importlib.util
from types import ModuleType

HAS_RUST = importlib.util.find_spec("hotmesh._core") is not None


def load(name: str) -> ModuleType:
    """The module of "python" or "rust"."""
    return importlib.import_module(
        {"python": "hotmesh.core._python", "rust": "hotmesh._core"}[name]
    )


NAMES = ["python", "rust"] if HAS_RUST else ["python"]
