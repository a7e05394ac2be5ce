"""Build the `py3-none-any` wheel: the same package and metadata, without the extension.

maturin always compiles, so the Python sources are copied aside and given to hatchling with the
very `[project]` tables of pyproject.toml.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BACKEND = """
[build-system]
requires = ["hatchling>=1.27"]
build-backend = "hatchling.build"

[tool.hatch.build.targets.wheel]
packages = ["hotmesh"]
"""
CHECK = """
import hotmesh
from hotmesh.core import core_info
print(hotmesh.__version__, core_info())
"""


def project_tables(pyproject: str) -> str:
    """Return the `[project]` and `[project.*]` tables of a pyproject.toml, word for word."""
    tables = re.split(r"(?m)^(?=\[)", pyproject)
    return "".join(table for table in tables if re.match(r"\[project[].]", table))


def build(out: Path) -> Path:
    """Build the wheel into `out` and return its path."""
    with tempfile.TemporaryDirectory() as name:
        source = Path(name)
        compiled = shutil.ignore_patterns("_core.*.so", "_core.*.pyd", "__pycache__")
        shutil.copytree(ROOT / "python" / "hotmesh", source / "hotmesh", ignore=compiled)
        for document in ("README.md", "LICENSE"):
            shutil.copy(ROOT / document, source)
        tables = project_tables((ROOT / "pyproject.toml").read_text())
        (source / "pyproject.toml").write_text(tables + BACKEND)
        built = source / "dist"
        pip(sys.executable, "wheel", "--no-deps", "--wheel-dir", str(built), str(source))
        (wheel,) = built.glob("hotmesh-*-py3-none-any.whl")
        out.mkdir(parents=True, exist_ok=True)
        return Path(shutil.copy(wheel, out))


def check(wheel: Path) -> None:
    """Install the wheel in a clean environment and import it on the Python core."""
    with tempfile.TemporaryDirectory() as name:
        venv.create(name, with_pip=True)
        python = str(Path(name) / ("Scripts" if os.name == "nt" else "bin") / "python")
        pip(python, "install", str(wheel.resolve()))
        environment = os.environ | {"HOTMESH_CORE": "python"}
        command = [python, "-I", "-c", CHECK]
        subprocess.run(command, check=True, cwd=name, env=environment)


def pip(python: str, *arguments: str) -> None:
    """Run pip quietly; its errors show, and end the program."""
    command = [python, "-m", "pip", "--quiet", "--disable-pip-version-check", *arguments]
    subprocess.run(command, check=True)


def main() -> None:
    """Build, try if asked to, and print where the wheel is."""
    parser = argparse.ArgumentParser(description="Build the wheel without the extension.")
    parser.add_argument("--out", type=Path, default=ROOT / "dist/pure", help="folder of the wheel")
    parser.add_argument("--check", action="store_true", help="install and import it afterwards")
    arguments = parser.parse_args()
    wheel = build(arguments.out)
    if arguments.check:
        check(wheel)
    print(wheel)


if __name__ == "__main__":
    main()
