"""What counts as blocking."""

import time

from hotmesh.router.watchdog import Interrupted, Watchdog


def runs_for(limits: float, *, replayed: bool) -> bool:
    """Whether an activation of so many limits is let through."""
    watchdog = Watchdog(0.1)
    watchdog.start()
    until = time.monotonic() + 0.1 * limits
    watchdog.count += 1
    try:
        while time.monotonic() < until:
            watchdog.replayed += replayed
        watchdog.count += 1
        watchdog.settle()
    except Interrupted:
        return False
    finally:
        watchdog.stop()
    return watchdog.fired == 0


def test_the_limit_is_for_each_transition_that_is_replayed() -> None:
    assert runs_for(4, replayed=True)
    assert not runs_for(4, replayed=False)
