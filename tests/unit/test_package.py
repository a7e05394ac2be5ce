"""The package itself: its version, and names that are found when first used."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import hotmesh
from hotmesh import meshflow

ROOT = Path(__file__).resolve().parents[2]


def test_the_version_is_that_of_the_project() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert hotmesh.__version__ == project["version"]


def test_names_are_found_on_first_use() -> None:
    from hotmesh.client import Client
    from hotmesh.worker import Worker

    assert hotmesh.Client is Client
    assert hotmesh.Worker is Worker
    assert hotmesh.core_info().version == hotmesh.__version__
    assert {"Client", "HotMesh", "MeshFlow", "Worker", "core_info"} <= set(dir(hotmesh))
    assert hotmesh.MeshFlow is meshflow
    assert hotmesh.HotMesh.guid() != hotmesh.HotMesh.guid()


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="nothing_here"):
        _ = hotmesh.nothing_here


def test_importing_the_package_imports_no_other_module_of_it() -> None:
    program = "import sys, hotmesh; print(*sorted(m for m in sys.modules if 'hotmesh.' in m))"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["hotmesh._version"]
