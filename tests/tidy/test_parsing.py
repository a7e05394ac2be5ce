"""Reading the tree for the tests here: what else goes on in the process doesn't show."""

import gc
import traceback
from pathlib import Path

from tidy.tree import PACKAGE, ROOT, parsed


class Reports:
    """Formats an exception when it is collected, as asyncio does of a task that was forgotten."""

    def __init__(self) -> None:
        self.itself = self

    def __del__(self) -> None:
        try:
            (1 + 1) / 0
        except ZeroDivisionError:
            traceback.format_exc()


def test_finalizers_do_not_disturb_parsing(tmp_path: Path) -> None:
    source = (ROOT / "python" / PACKAGE / "activity.py").read_text()
    thresholds = gc.get_threshold()
    gc.set_threshold(50)
    try:
        for number in range(10):
            path = tmp_path / f"{number}.py"
            path.write_text(source)
            for _ in range(20):
                Reports()
            assert parsed(path).body
    finally:
        gc.set_threshold(*thresholds)
    assert gc.isenabled()
