"""Durable workflows with nothing but a database.

Importing this package loads nothing else: `Client`, `Worker`, `core_info`, and what HotMesh's own
examples call `HotMesh` and `MeshFlow`, are found when first used. The rest lives in the modules
`workflow`, `activity`, `client`, `worker`, `common`, `exceptions`, `converter` and `meshflow`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from hotmesh._version import __version__

if TYPE_CHECKING:
    from hotmesh import meshflow as MeshFlow  # noqa: N812 - see _MODULES
    from hotmesh.client import Client
    from hotmesh.core import core_info
    from hotmesh.meshflow._hotmesh import HotMesh
    from hotmesh.worker import Worker

__all__ = ["Client", "HotMesh", "MeshFlow", "Worker", "__version__", "core_info"]

_HOMES = {
    "Client": "hotmesh.client",
    "HotMesh": "hotmesh.meshflow._hotmesh",
    "Worker": "hotmesh.worker",
    "core_info": "hotmesh.core",
}
"""Name → module that has it; imported on first use, so that `import hotmesh` costs nothing."""

_MODULES = {"MeshFlow": "hotmesh.meshflow"}
"""Modules under the names that examples of HotMesh for other languages give them."""


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        value: Any = importlib.import_module(_MODULES[name])
    elif name in _HOMES:
        value = getattr(importlib.import_module(_HOMES[name]), name)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES, *_MODULES})
