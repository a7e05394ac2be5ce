"""The seam to the router core: picks the Rust extension or its pure-Python twin.

``HOTMESH_CORE`` chooses: ``rust``, ``python``, or ``auto`` (the default: Rust if it is installed).
Both have the same names and write the same bytes. `core_info` says which one is in use.
"""

from __future__ import annotations

import os
from types import ModuleType
from typing import TYPE_CHECKING, NamedTuple

from hotmesh._version import __version__
from hotmesh.core import kinds, run_states
from hotmesh.core.errors import CodecError, CoreError, LedgerError, RouterError
from hotmesh.core.types import DRAINED_FIELDS, Drained, Event, Ingested, Loaded, Transition

__all__ = [
    "DRAINED_FIELDS",
    "CodecError",
    "CoreError",
    "CoreInfo",
    "Drained",
    "Event",
    "Ingested",
    "Ledger",
    "LedgerError",
    "Loaded",
    "Router",
    "RouterError",
    "Transition",
    "Wheel",
    "core_info",
    "decode_array",
    "decode_event",
    "decode_transition",
    "encode_array",
    "encode_event",
    "encode_event_prefix",
    "encode_transition",
    "kinds",
    "lane_of",
    "match_commands",
    "run_states",
]


class CoreInfo(NamedTuple):
    """Which core is in use."""

    implementation: str
    """"rust" or "python"."""
    version: str


def _load_extension(*, required: bool) -> ModuleType | None:
    try:
        from hotmesh import _core
    except ImportError as error:
        if not required:
            return None
        raise ImportError(
            "HOTMESH_CORE=rust, but the extension hotmesh._core can't be imported "
            f"({error}). Install a wheel for this platform, build it with `maturin develop`, "
            "or set HOTMESH_CORE=python."
        ) from error
    if _core.__version__ != __version__:
        raise ImportError(
            f"hotmesh._core is version {_core.__version__}, but hotmesh needs {__version__}. "
            "Rebuild it with `maturin develop`, or set HOTMESH_CORE=python."
        )
    return _core


def _choose() -> tuple[str, ModuleType]:
    wanted = os.environ.get("HOTMESH_CORE", "auto")
    if wanted not in ("auto", "rust", "python"):
        raise ImportError(f"HOTMESH_CORE={wanted!r}; it must be rust, python or auto.")
    if wanted != "python":
        extension = _load_extension(required=wanted == "rust")
        if extension is not None:
            return "rust", extension
    from hotmesh.core import _python

    return "python", _python


_implementation, _chosen = _choose()

if TYPE_CHECKING:
    from hotmesh.core._python import (
        Ledger,
        Router,
        Wheel,
        decode_array,
        decode_event,
        decode_transition,
        encode_array,
        encode_event,
        encode_event_prefix,
        encode_transition,
        lane_of,
        match_commands,
    )
else:
    Ledger = _chosen.Ledger
    Router = _chosen.Router
    Wheel = _chosen.Wheel
    decode_array = _chosen.decode_array
    decode_event = _chosen.decode_event
    decode_transition = _chosen.decode_transition
    encode_array = _chosen.encode_array
    encode_event = _chosen.encode_event
    encode_event_prefix = _chosen.encode_event_prefix
    encode_transition = _chosen.encode_transition
    lane_of = _chosen.lane_of
    match_commands = _chosen.match_commands


def core_info() -> CoreInfo:
    """Which core is in use, and its version."""
    return CoreInfo(_implementation, __version__)
