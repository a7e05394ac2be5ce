"""A worker process of `special/app.py` or of another program like it, seen from a measurement."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Self

APP = Path(__file__).parent / "app.py"


class WorkerProcess:
    """Runs while it is entered."""

    def __init__(self, url: str, task_queue: str, option: str, *, app: Path = APP) -> None:
        words = [sys.executable, str(app), url, task_queue, option]
        self._process = subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def __enter__(self) -> Self:
        if self._line() != "ready":
            raise SystemExit("a worker process did not start")
        return self

    def __exit__(self, *exc: object) -> None:
        self._process.communicate()

    def usage(self) -> dict[str, Any]:
        """What the program says of itself."""
        assert self._process.stdin is not None
        self._process.stdin.write("usage\n")
        self._process.stdin.flush()
        found: dict[str, Any] = json.loads(self._line())
        return found

    def _line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()
