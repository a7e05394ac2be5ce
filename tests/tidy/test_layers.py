"""Dependencies run one way: a module imports its own layer and the layers below it."""

from collections.abc import Iterator
from pathlib import Path

from tidy.tree import PACKAGE, ROOT, imports, modules

# Which top-level modules make up a layer. A new one gets its layer here.
LAYERS = {
    "leaf": {
        "_version",
        "common",
        "converter",
        "duration",
        "exceptions",
        "forks",
        "giving_back",
        "groups",
        "interrupts",
        "ids",
        "json_bytes",
        "limits",
        "log",
        "printing",
        "redaction",
        "retrying",
        "service",
        "shortening",
        "telemetry",
        "topics",
        "types",
        "visibility",
    },
    "core": {"_core", "core"},
    "engine": {"activity", "engine", "workflow"},
    "backends": {"backends"},
    "events": {"events"},
    "router": {"router"},
    "surface": {"client", "worker"},
    "face": {"contrib", "meshflow", "temporal", "testing"},
    "command": {"__main__", "bench", "cli"},
}
_LOWER = {"leaf", "core", "engine", "backends", "events", "router"}
ALLOWED = {
    "leaf": {"leaf"},
    "core": {"core", "leaf"},
    "engine": {"engine", "core", "leaf"},
    "backends": {"backends", "core", "leaf"},
    "events": {"events", "leaf"},
    "router": _LOWER,
    "surface": {*_LOWER, "surface"},
    "face": {*_LOWER, "surface", "face"},
    "command": set(LAYERS),
}
# What a backend may know of its own leaf layer: no payloads, no workflow code.
BACKEND_LEAVES = {
    "_version",
    "exceptions",
    "forks",
    "giving_back",
    "ids",
    "json_bytes",
    "limits",
    "log",
    "printing",
    "redaction",
    "retrying",
    "shortening",
    "visibility",
}
BACKEND_COMMON = {"protocol", "record_json", "registry"}
# Names that the package itself exports, which are no modules.
ROOT_NAMES = {"__version__"}


def layer_violations(root: Path) -> Iterator[str]:
    """Name every import that goes up, and every top-level module without a layer."""
    for name in sorted({module.split(".")[1] for module, _, _ in modules(root) if "." in module}):
        if _layer(name) is None:
            yield f"{PACKAGE}.{name} has no layer: name one in LAYERS"
    for found in imports(root):
        importer, imported = _top(found.importer), _top(found.imported)
        if importer is None or imported is None or imported in ROOT_NAMES:
            continue
        above, below = _layer(importer), _layer(imported)
        if above is not None and below is not None and below not in ALLOWED[above]:
            yield f"{found.where}: {above} must not import {found.imported} ({below})"


def backend_violations(root: Path) -> Iterator[str]:
    """Name what a backend imports beyond its port, and who reaches past the registry."""
    backends = {
        module.split(".")[2] for module, _, _ in modules(root) if module.count(".") >= 2
        and _top(module) == "backends"
    }  # fmt: skip
    concrete = {
        name for name in backends if (root / f"python/{PACKAGE}/backends/{name}").is_dir()
    } - BACKEND_COMMON
    for found in imports(root):
        own, other = _backend(found.importer, concrete), _backend(found.imported, concrete)
        if other and own != other and found.importer != f"{PACKAGE}.backends.registry":
            yield f"{found.where}: only backends.registry may import {found.imported}"
        top = _top(found.imported)
        if own and _layer(top or "") == "leaf" and top not in BACKEND_LEAVES:
            yield f"{found.where}: a backend must not know {found.imported}"


def _top(module: str) -> str | None:
    """The name below the package, None for the package itself (which may export anything)."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else None


def _layer(name: str) -> str | None:
    return next((layer for layer, names in LAYERS.items() if name in names), None)


def _backend(module: str, concrete: set[str]) -> str | None:
    parts = module.split(".")
    inside = len(parts) > 2 and parts[1] == "backends" and parts[2] in concrete
    return parts[2] if inside else None


def test_imports_go_down_the_layers() -> None:
    assert list(layer_violations(ROOT)) == []


def test_backends_know_their_port_only_and_nobody_knows_them() -> None:
    assert list(backend_violations(ROOT)) == []


def _write(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = root / "python" / PACKAGE / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def test_an_import_upwards_is_found_in_every_spelling(tmp_path: Path) -> None:
    _write(
        tmp_path,
        {
            "__init__.py": "from hotmesh import client\n",
            "client/__init__.py": "from ..router import loop\nimport hotmesh.common\n",
            "router/__init__.py": "from hotmesh import client\n",
            "router/loop.py": "def late():\n    from ..client import Client\n",
            "common.py": "import hotmesh.router.loop\n",
            "strange.py": "",
        },
    )
    assert list(layer_violations(tmp_path)) == [
        "hotmesh.strange has no layer: name one in LAYERS",
        "python/hotmesh/common.py:1: leaf must not import hotmesh.router.loop (router)",
        "python/hotmesh/router/__init__.py:1: router must not import hotmesh.client (surface)",
        "python/hotmesh/router/loop.py:2: router must not import hotmesh.client (surface)",
    ]


def test_a_backend_used_or_knowing_too_much_is_found(tmp_path: Path) -> None:
    _write(
        tmp_path,
        {
            "common.py": "",
            "exceptions.py": "",
            "backends/registry.py": "from .sqlite import backend\n",
            "backends/protocol.py": "",
            "backends/sqlite/__init__.py": "",
            "backends/sqlite/backend.py": "from ..protocol import X\nimport hotmesh.common\n",
            "backends/redis/__init__.py": "from ...exceptions import E\nfrom ..sqlite import y\n",
            "router/loop.py": "from hotmesh.backends import sqlite\n",
        },
    )
    reached_past = "only backends.registry may import hotmesh.backends.sqlite"
    assert list(backend_violations(tmp_path)) == [
        f"python/hotmesh/backends/redis/__init__.py:2: {reached_past}",
        "python/hotmesh/backends/sqlite/backend.py:2: a backend must not know hotmesh.common",
        f"python/hotmesh/router/loop.py:1: {reached_past}",
    ]
