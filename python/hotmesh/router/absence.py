"""A router as its deputy's thread sees it, while its event loop may be held up."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import threading
import traceback
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from hotmesh.backends.protocol import HeldTask, Registration
from hotmesh.engine.activity_task import ActivityTask
from hotmesh.router.effects import held_task
from hotmesh.router.tenure import Held, Tenure

if TYPE_CHECKING:
    from hotmesh.router.router import WorkerRouter

FRAMES_SHOWN = 4
"""How much of a stack the log shows."""


class AbsentRouter:
    """Looks at a router from another thread. Made in the thread of its event loop.

    Args:
        router: The router.
        runner: Its activity runner, or None.
        lease_ms: How long it may be silent.
    """

    def __init__(self, router: WorkerRouter, runner: Any, lease_ms: int) -> None:
        self._router = router
        self._runner = runner
        self._lease_ms = lease_ms
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()

    @property
    def tenure(self) -> Tenure:
        """Its tenure."""
        return self._router.tenure

    def registration(self) -> Registration:
        """Its row in the rollcall."""
        return self._router.registration()

    def end_tenure(self) -> None:
        """It can't go on: whatever it is doing, nothing of it is begun or committed."""
        self._router.end_tenure()

    def claims(self) -> Sequence[tuple[ActivityTask, int]]:
        """The attempts that are tasks, each with the milliseconds that it may be renewed for."""
        router, tenure = self._router, self.tenure
        tasks = [] if router.pump is None else router.pump.claimed()
        if tenure.over:
            tasks += tenure.held.begun
        now_ms = router.clock.now_ms()
        return [
            (task, min(self._lease_ms, self._runner.expires_ms(task) - now_ms)) for task in tasks
        ]

    def running(self) -> Sequence[ActivityTask]:
        """The attempts that run in this process, or have ended and are not stored.

        Of one that never waits nobody takes note: it is found on the stack of the event loop's
        thread, or among what has just ended.
        """
        if self._runner is None:
            return ()
        held_up_by, _ = self.held_up_by()
        begun = [task for pipe in self._router.pipes for task, _ in pipe.held() if task.started_ms]
        begun += self.tenure.held.begun  # where that is over already
        found = {task.key: task for task in begun}
        found |= {task.key: task for task in self._runner.running()}
        if held_up_by is not None:
            found.pop(held_up_by.key, None)
            return [held_up_by, *found.values()]
        return list(found.values())

    def held_up_by(self) -> tuple[ActivityTask | None, str]:
        """The attempt that the event loop's thread is in, if it is in one, and where."""
        frame = sys._current_frames().get(self._thread)  # pyright: ignore[reportPrivateUsage]
        if frame is None:
            return None, ""
        where = "".join(traceback.format_stack(frame)[-FRAMES_SHOWN:])
        return None if self._runner is None else self._runner.attempt_in(frame), where

    def wake(self) -> None:
        """Look what has become of this router, once the event loop turns."""
        with contextlib.suppress(RuntimeError):  # the loop was closed: nobody is left to look
            self._loop.call_soon_threadsafe(self._router.on_fenced)


def in_hand(router: WorkerRouter) -> Held:
    """What a router had in hand when its tenure was over."""
    tasks: list[HeldTask] = []
    begun: list[ActivityTask] = []
    for pipe in router.pipes:
        for task, transition in pipe.held():
            held = held_task(task, router.queue_of(task.options.get("q")), transition)
            tasks.append(held)
            if held.attempt:
                begun.append(task)
    return Held(tasks, begun)
