"""What counts as blocking."""

from types import SimpleNamespace
from typing import Any, cast

import pytest

from hotmesh.router import watchdog as module
from hotmesh.router.watchdog import Interrupted, Watchdog


def is_let_through(limits: float, monkeypatch: pytest.MonkeyPatch, *, replayed: bool) -> bool:
    """Whether an activation of so many limits is let through; it looks on in its own thread."""
    watchdog, now = Watchdog(1.0), 0.0

    def wait(seconds: float) -> bool:
        nonlocal now
        now += seconds
        watchdog.replayed += replayed
        return now >= limits

    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: now))
    watchdog._stop = cast("Any", SimpleNamespace(wait=wait))
    watchdog.count += 1
    try:
        watchdog._watch()
        watchdog.count += 1
        watchdog.settle()
    except Interrupted:
        return False
    return watchdog.fired == 0


@pytest.mark.parametrize(("limits", "replayed", "is_fine"), [(4, True, True), (4, False, False)])
def test_the_limit_is_for_each_transition_that_is_replayed(
    limits: float, replayed: bool, is_fine: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert is_let_through(limits, monkeypatch, replayed=replayed) is is_fine


@pytest.mark.parametrize(("limits", "is_fine"), [(0.9, True), (1.3, False)])
def test_code_has_the_limit_to_yield(
    limits: float, is_fine: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert is_let_through(limits, monkeypatch, replayed=False) is is_fine
