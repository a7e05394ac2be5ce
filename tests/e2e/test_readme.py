"""The README's programs run as they stand, and say what the README says."""

import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

README = (Path(__file__).resolve().parents[2] / "README.md").read_text()
PROGRAMS = re.findall(r"^```python\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
RESPONSE = "RESPONSE ['Hello, 1!', 'Hello, 2!', 'Hello, 3!', 5]"
SLEEP_S = 5.0
TIMEOUT_S = 60


def test_the_readme_shows_both_faces_and_their_answer() -> None:
    assert len(PROGRAMS) == 2
    assert RESPONSE in README


@pytest.mark.parametrize("program", PROGRAMS, ids=["function-first", "temporal-shaped"])
def test_a_program_prints_what_the_readme_says(program: str, tmp_path: Path) -> None:
    path = tmp_path / "program.py"
    path.write_text(program)
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, str(path)],
        cwd=tmp_path, capture_output=True, text=True, timeout=TIMEOUT_S,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == RESPONSE + "\n"
    assert time.monotonic() - began >= SLEEP_S
    assert (tmp_path / "hotmesh.db").exists()
