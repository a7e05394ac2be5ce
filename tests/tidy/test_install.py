"""The README's install line finds one wheel, whatever has been built before.

`tools/try_install.sh` runs it, in `make test`.
"""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tidy.tree import ROOT

(LINE,) = re.findall(r"`pip install (dist/[^`]*)`", (ROOT / "README.md").read_text())


def recipe(target: str) -> list[str]:
    """What make would run."""
    done = subprocess.run(
        ["make", "-n", target], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return done.stdout.splitlines()


@pytest.mark.parametrize("order", [("build", "pure-wheel"), ("pure-wheel", "build")])
def test_the_install_line_finds_the_wheel_that_was_built_last(
    order: tuple[str, ...], tmp_path: Path
) -> None:
    """The recipes as they are, but that the wheels are only touched."""
    stale = tmp_path / "dist" / "hotmesh-0.0.1-cp311-abi3-linux_x86_64.whl"
    stale.parent.mkdir()
    stale.touch()
    for target in order:
        for command in recipe(target):
            if "--wheel-dir" in command or "--out" in command:
                (folder,) = re.findall(r"--(?:wheel-dir|out) (\S+)", command)
                (tmp_path / folder).mkdir(parents=True, exist_ok=True)
                (tmp_path / folder / f"hotmesh-9.9.9-{target}.whl").touch()
            elif command.startswith("rm -f dist"):
                subprocess.run(["bash", "-c", command], cwd=tmp_path, check=True)
    found = [each.name for each in tmp_path.glob(LINE)]
    assert found == ["hotmesh-9.9.9-build.whl"]


def test_the_line_is_run_by_the_checks() -> None:
    assert "tools/try_install.sh" in (ROOT / "tools" / "check.sh").read_text()
    assert shutil.which("bash")
