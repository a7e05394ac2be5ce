"""The clock of running activities: what one deadline raises is that attempt's."""

from types import SimpleNamespace
from typing import Any

import pytest

from hotmesh.worker._activity_alarm import ActivityAlarm


class BareError(BaseException):
    """Not an Exception."""


@pytest.mark.parametrize("error", [ValueError, SystemExit, GeneratorExit, BareError])
async def test_what_a_deadline_raises_stops_no_other_deadline(
    error: type[BaseException], caplog: pytest.LogCaptureFixture
) -> None:
    rung: list[int] = []

    def ring(running: Any) -> None:
        rung.append(running.token)
        if running.token == 1:
            raise error("late")

    now = [0]
    alarm = ActivityAlarm(lambda: now[0], ring)
    for token in (1, 2, 3):
        running: Any = SimpleNamespace(token=token, task=SimpleNamespace(name=f"a{token}"))
        alarm.set(running, 10 if token < 3 else 20)
    now[0] = 10
    alarm.tick()
    assert sorted(rung) == [1, 2]
    assert "A deadline of activity a1 was missed" in caplog.text
    now[0] = 20
    alarm.tick()
    assert sorted(rung) == [1, 2, 3]
    alarm.close()
