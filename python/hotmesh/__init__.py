"""Durable workflows with nothing but a database.

Importing this package loads nothing else: `Client`, `Worker` and `core_info` are found when first
used, and the rest lives in the modules `workflow`, `activity`, `client`, `worker`, `common`,
`exceptions`, `converter` and `meshflow`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from hotmesh._version import __version__

if TYPE_CHECKING:
    from hotmesh.client import Client
    from hotmesh.core import core_info
    from hotmesh.worker import Worker

__all__ = ["Client", "Worker", "__version__", "core_info"]

_HOMES = {
    "Client": "hotmesh.client",
    "Worker": "hotmesh.worker",
    "core_info": "hotmesh.core",
}
"""Name → module that has it; imported on first use, so that `import hotmesh` costs nothing."""


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
