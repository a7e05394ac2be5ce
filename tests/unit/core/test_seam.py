"""The seam: which implementation is chosen, and that both offer the same."""

import ast
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

import hotmesh.core
from hotmesh.core import (
    CodecError,
    CoreError,
    LedgerError,
    RouterError,
    __version__,
    _python,
    core_info,
    kinds,
)
from tidy.tree import parsed
from unit.core import cores

STUB = Path(hotmesh.core.__file__).parent.parent / "_core.pyi"


def import_core(choice: str, prelude: str = "") -> subprocess.CompletedProcess[str]:
    """Import the seam in a fresh process with HOTMESH_CORE set, and print its choice."""
    program = f"{prelude}\nfrom hotmesh.core import core_info; print(core_info().implementation)"
    environment = {**os.environ, "HOTMESH_CORE": choice}
    environment["PYTHONPATH"] = os.pathsep.join(sys.path)
    command = [sys.executable, "-c", program]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("name", cores.NAMES)
def test_the_environment_chooses(name: str) -> None:
    assert import_core(name).stdout.strip() == name


def test_auto_prefers_rust() -> None:
    assert import_core("auto").stdout.strip() == cores.NAMES[-1]


def test_an_unknown_choice_is_refused() -> None:
    assert "must be rust, python or auto" in import_core("fast").stderr


def test_a_forced_extension_that_is_missing_is_refused() -> None:
    found = import_core("rust", "import sys; sys.modules['hotmesh._core'] = None")
    assert found.returncode != 0
    assert "HOTMESH_CORE=python" in found.stderr


@pytest.mark.parametrize("choice", ["rust", "auto"])
def test_a_stale_extension_is_refused(choice: str) -> None:
    stale = (
        "import sys, types, hotmesh\n"
        "stale = types.ModuleType('hotmesh._core'); stale.__version__ = '0.0.9'\n"
        "sys.modules['hotmesh._core'] = hotmesh._core = stale"
    )
    found = import_core(choice, stale)
    assert found.returncode != 0
    assert f"version 0.0.9, but hotmesh needs {__version__}" in found.stderr


def test_core_info_names_the_choice() -> None:
    assert core_info().implementation in cores.NAMES
    assert core_info().version == __version__


def names_of_stub() -> dict[str, set[str]]:
    """Top-level names of the stub, each with its methods."""
    return {
        node.name: {
            each.name for each in getattr(node, "body", []) if isinstance(each, ast.FunctionDef)
        }
        for node in parsed(STUB).body
        if isinstance(node, ast.ClassDef | ast.FunctionDef)
    }


@pytest.mark.parametrize("name", cores.NAMES)
def test_both_offer_what_the_stub_lists(name: str) -> None:
    core = cores.load(name)
    assert set(names_of_stub()) == set(_python.__all__)
    for exported, methods in names_of_stub().items():
        public = {each for each in methods if not each.startswith("__")}
        assert all(hasattr(getattr(core, exported), method) for method in public)


@pytest.mark.parametrize(
    "error",
    [
        CodecError("truncated", "event", 3),
        LedgerError("not_open", kinds.DEADLINE, 4),
        RouterError("cold", b"\x01" * 16),
    ],
)
def test_errors_survive_pickling(error: CoreError) -> None:
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error)
    assert (str(again), again.code) == (str(error), error.code)
    assert isinstance(error, ValueError)
