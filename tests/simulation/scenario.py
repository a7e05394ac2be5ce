"""A plan is played in a world, and what must hold is checked."""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import Callable, Sequence
from typing import Any

from hotmesh.client import WorkflowFailureError, WorkflowHandle
from hotmesh.client._check import look
from hotmesh.common import WorkflowIDConflictPolicy
from hotmesh.exceptions import BackendUnavailableError, HotMeshError, RPCError, RPCStatusCode
from simulation import checks
from simulation.app import QUEUE, Activities, Asks, Attempt, Collect, Hurries, Passes, Record
from simulation.catalogue import HOSTED, arguments
from simulation.clock import VirtualClock, virtual
from simulation.hauled import low_limits
from simulation.log import overheard
from simulation.plan import FAULTS_END_S, PROFILES, Case, Plan, plan_of
from simulation.process import AGAIN_S, Process
from simulation.watched import watched
from simulation.world import World

LEASE_S = 1
LIMIT_S = 60.0
"""Virtual seconds within which everything must have come to its end."""

QUIET_S = 8.0
"""Virtual seconds after which nothing may be left over: longer than any timer is read ahead."""

COMMITS_PER_LOOK = 25
"""How often what is stored is looked through, in the midst of everything."""

CLOCK_JUMPS_S = (-3600, -10, 5, 20)
"""By how much the clock is set. What is stored before a jump forward is noticed may be late by as
much, up to a minute."""

GENTLE = ("join", "restart", "lose step")
"""Troubles by which no worker loses what it has in hand."""

SOON_S = 0.5
"""Within which the clock jumps again: before everybody has made up for the first jump."""

SMALL_JUMPS_S = (-10, 3, 3, 4)
"""By how much the clock is set that is set often: together not by a minute either."""

OFTEN = 5
"""How often it is set then."""

AHEAD_S_MAX = 50
"""How far the clock is set forward in all: what is due then may come so late, which is no hang."""

SETTLED_S = 3.0
"""Within which live workers have made up for a jump, or for a database that has gone back."""


class Scenario:
    """A plan being played in a world."""

    def __init__(self, world: World, plan: Plan) -> None:
        self.world = world
        self.plan = plan
        self.record = Record(self._cancelled, self._made_again, self._overtaken)
        self.workers: dict[Process, dict[str, Any]] = {}
        self._spawned = 0
        self._settled_s = 0.0
        """When live workers have made up for the last jump of the clock. One that begins earlier
        knows nothing of it. The same for a database that has gone back."""
        self._commits = 0
        self._ahead_s = 0
        self._ending = False
        self._claim_lost = False
        self._is_rough = False
        """Whether a worker was killed, or may have lost a claim that it has been silent about."""

    def play(self) -> None:
        """Let it all happen, and check what must hold.

        Raises:
            AssertionError: Something does not hold.
        """
        world, begun_s = self.world, self.world.clock.now_s
        world.server.committed = self._look_now_and_then
        faults = world.network.faults
        faults.lose_request, faults.lose_answer = self.plan.lose_request, self.plan.lose_answer
        faults.lose_hint, faults.slow = self.plan.lose_hint, self.plan.slow
        first, *others = self.plan.workers
        self._start_worker({**first, "hosts": HOSTED})  # somebody hosts each type
        for options in others:
            self._start_worker(options)
        client = self._client = world.spawn("client")
        asked = [client.run(self._ask(client, case)) for case in self.plan.cases]
        for when_s, what, seconds in self.plan.troubles:
            world.at(begun_s + when_s, self._trouble(what, seconds))
        world.at(begun_s + FAULTS_END_S, self._end_faults)
        try:
            world.run_until(lambda: all(each.done() for each in asked), begun_s + LIMIT_S)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{checks.open_ends(world, self.plan.cases)}") from error
        for each in asked:
            each.result()
        if self._may_be_lost:  # and what clients have the results of goes on again
            world.run_until(lambda: not checks.open_runs(world), begun_s + LIMIT_S)
        self._settle()
        checks.check(world, self.plan.cases, self.record)
        looking = client.run(look(client.backend, "simulated"))
        world.run_until(looking.done, world.clock.now_s + QUIET_S)
        left = [each for each in looking.result() if not checks.is_allowed(world, each)]
        assert not left, left
        self._stop_workers()

    def _cancelled(self, attempt: Attempt, reason: str) -> None:
        """An attempt is told to stop; as what it was told says, its claim is lost, or revoked."""
        self._claim_lost |= reason == "not_found"
        if self._may_be_lost:
            return  # it may be another one with the same number
        if checks.is_wanted(self.world, attempt, reason):
            self.world.problems.append(f"attempt {attempt} was told {reason!r}, which is not so")

    def _made_again(self, attempt: Attempt) -> None:
        """An activity is made again that has returned: only what was lost with a worker may be."""
        if self._may_be_lost or self._claim_lost or self._is_rough:
            return
        if not checks.is_anybody_dead(self.world) and checks.was_let_go_of(self.world, attempt):
            self.world.problems.append(f"attempt {attempt} has begun, but another has returned")

    def _overtaken(self, attempt: Attempt) -> None:
        """Whoever begins an attempt knows that it is still the one: a claim and a tenure last for a
        lease, and whether they have ended meanwhile is asked first."""
        if not self._may_be_lost:  # numbers are given out again then
            self.world.problems.append(f"attempt {attempt} has begun after a later one")

    def _look_now_and_then(self) -> None:
        self._commits += 1
        if self.world.server.times_gone_back and self.world.clock.now_s < self._settled_s:
            return  # who had it in hand is about to find out
        if self._commits % COMMITS_PER_LOOK == 0:
            self.world.problems += checks.lost_work(self.world)

    def _settle(self) -> None:
        """Time passes until all that is left to be cleaned up has been."""
        world, quiet = self.world, []
        world.at(world.clock.now_s + QUIET_S, lambda: quiet.append(True))
        world.run_until(lambda: bool(quiet), world.clock.now_s + 2 * QUIET_S)

    def _stop_workers(self) -> None:
        world = self.world
        self._ending = True
        for process in self.workers:
            process.stop()
        ending = [each.tasks[0] for each in world.processes if each.name != "client"]
        world.run_until(lambda: all(each.done() for each in ending), world.clock.now_s + QUIET_S)
        for each in ending:
            each.result()
        checks.check_nobody_is_left(world)

    # Workers

    def _start_worker(self, options: dict[str, Any]) -> None:
        if self._ending:
            return
        if self.world.clock.now_s < self._settled_s:
            self.world.at(self._settled_s, lambda: self._start_worker(options))
            return
        self._spawned += 1
        process = self.world.spawn(f"worker-{self._spawned}")
        self.workers[process] = options
        hosting = {name: value for name, value in options.items() if name != "hosts"}
        process.host(
            task_queue=QUEUE,
            workflows=options["hosts"],
            activities=Activities(self.record).all(),
            lease=LEASE_S,
            **hosting,
        )

    def _trouble(self, what: str, seconds: float) -> Callable[[], None]:
        def happen() -> None:
            world = self.world
            if not self.workers:
                return
            process = world.random.choice(list(self.workers))
            now_s = world.clock.now_s
            self._is_rough |= what not in GENTLE
            if what == "kill":
                self._kill(process, seconds)
            elif what == "lose, kill":
                world.network.faults.lose_next.add((process.name, "step"))
                world.at(now_s + seconds / 3, lambda: self._kill(process, seconds))
            elif what == "lose step":
                world.network.faults.lose_next.add((process.name, "step"))
            elif what == "join":
                self._start_worker(self.workers[process])
            elif what == "set clock":
                self._set_clock()
            elif what == "set clock twice":
                self._set_clock()
                world.at(now_s + world.random.uniform(0.0, SOON_S), self._set_clock)
            elif what == "set clock often":
                for _ in range(OFTEN):
                    jump = functools.partial(self._set_clock, SMALL_JUMPS_S)
                    world.at(now_s + world.random.uniform(0.0, SOON_S), jump)
            elif what == "lose a piece":
                self._lose_piece()
            elif what == "go back":
                world.server.copy()
                world.at(now_s + seconds, self._go_back)
            elif what == "pause":
                process.paused_until_s = now_s + seconds
            elif what == "hold up":
                process.loop.held_until_s = now_s + seconds
            elif what == "restart":
                self._restart(process)
            else:
                for kind in what.removeprefix("stall ").split(", "):
                    world.network.faults.stalls[process.name, kind] = now_s + seconds

        return happen

    def _set_clock(self, jumps_s: Sequence[int] = CLOCK_JUMPS_S) -> None:
        self._settled_s = self.world.clock.now_s + SETTLED_S
        jump_s = self.world.random.choice(jumps_s)
        if jump_s > 0:
            self._ahead_s += jump_s
        if self._ahead_s > AHEAD_S_MAX:
            jump_s = min(jumps_s)
        self.world.server.jump_ms += jump_s * 1000

    def _lose_piece(self) -> None:
        """Of what a run is made of; who finds out sets the run aside, until a client ends it."""
        workflow_id = self.world.server.lose_piece(self.world.random)
        for case in self.plan.cases:
            if case.id == workflow_id and case.ending != "terminate":
                case.ending = "terminate"
                self._client.run(self._end(case))

    async def _end(self, case: Case) -> None:
        await asyncio.sleep(case.after_s)
        case.is_ending = True
        handle = self._client.connect().get_workflow_handle(case.id)
        await self._accepted(case, "terminate", handle.terminate)

    def _go_back(self) -> None:
        self._settled_s = self.world.clock.now_s + SETTLED_S
        self.world.server.go_back()

    def _kill(self, process: Process, seconds: float) -> None:
        """End a worker, if it is still there; another one begins after a while."""
        options = self.workers.pop(process, None)
        if options is None:
            return
        self.world.kill(process)
        self.world.at(self.world.clock.now_s + seconds, lambda: self._start_worker(options))
        if not self.workers:
            self._start_worker(options)

    def _restart(self, process: Process) -> None:
        """The worker ends by itself, and another one begins."""
        options = self.workers.pop(process)
        process.stop()
        self._start_worker(options)

    def _end_faults(self) -> None:
        faults = self.world.network.faults
        faults.lose_request = faults.lose_answer = faults.slow = 0.0
        faults.stalls.clear()
        faults.lose_next.clear()

    # Clients

    async def _ask(self, process: Process, case: Case) -> None:
        """All that a client does for a case.

        Raises:
            AssertionError: It was told something that is not so.
        """
        await asyncio.sleep(case.begins_s)
        try:
            await self._play(process, case)
        except HotMeshError as error:
            raise AssertionError(f"{case.id}: {error!r}") from error

    async def _play(self, process: Process, case: Case) -> None:
        client, policy = process.connect(), WorkflowIDConflictPolicy.FAIL
        while True:
            try:
                handle = await client.start_workflow(
                    case.kind.run,
                    args=arguments(case.kind, case.first, case.count),
                    id=case.id,
                    task_queue=QUEUE,
                    id_conflict_policy=policy,
                )
                await asyncio.gather(self._send(case, handle), self._await(case, handle))
            except RPCError as error:
                if error.status is not RPCStatusCode.NOT_FOUND or not self._may_be_lost:
                    raise
                # What the database has lost of a chain may be its last run, or all of it.
                policy = WorkflowIDConflictPolicy.USE_EXISTING
                await asyncio.sleep(AGAIN_S)
            else:
                return

    @property
    def _may_be_lost(self) -> bool:
        return self.world.server.times_gone_back > 0

    async def _send(self, case: Case, handle: WorkflowHandle[Any, Any]) -> None:
        numbers = range(case.first, case.first + case.count)
        if case.kind in (Collect, Passes):
            for number in numbers:
                await asyncio.sleep(case.after_s / case.count)
                try:
                    await handle.signal(case.kind.note, number)
                except RPCError as error:
                    raise AssertionError(f"{case.id}: signal {number}: {error}") from error
                case.accepted.append(f"signal {number}")
        elif case.kind is Hurries:
            await asyncio.gather(*[self._hurry(case, handle, number) for number in numbers])
        elif case.kind is Asks:
            await asyncio.gather(*[self._update(case, handle, number) for number in numbers])
        if case.ending:
            await asyncio.sleep(case.after_s)
            case.is_ending = True
            ending = handle.cancel if case.ending == "cancel" else handle.terminate
            await self._accepted(case, case.ending, ending)

    async def _accepted(self, case: Case, what: str, call: Callable[[], Any]) -> None:
        """Make a call that may be repeated until its answer is known."""
        try:
            await _surely(call)
        except RPCError as error:
            assert case.ending, f"{case.id}: {what}: {error}"
        else:
            case.accepted.append(what)

    async def _hurry(self, case: Case, handle: WorkflowHandle[Any, Any], number: int) -> None:
        await asyncio.sleep(number % 5 * case.after_s / 5)
        try:
            await _surely(lambda: handle.signal(Hurries.note, number))
        except RPCError as error:
            assert error.status is RPCStatusCode.NOT_FOUND, f"{case.id}: {error}"
        else:
            case.accepted.append(f"signal {number}")

    async def _update(self, case: Case, handle: WorkflowHandle[Any, Any], number: int) -> None:
        await asyncio.sleep(number % 7 * case.after_s / 7)
        try:
            answer = await _surely(
                lambda: handle.execute_update(Asks.increase, number, id=f"update-{number}")
            )
        except Exception as error:
            assert case.ending, f"{case.id}: update {number}: {error!r}"
        else:
            assert answer == number + 1
            case.accepted.append(f"update {number}")

    async def _await(self, case: Case, handle: WorkflowHandle[Any, Any]) -> None:
        try:
            case.outcome = await _surely(handle.result)
        except WorkflowFailureError as error:
            case.outcome = error.cause


async def _surely(call: Callable[[], Any]) -> Any:
    """Call until there is an answer."""
    while True:
        try:
            return await call()
        except BackendUnavailableError:
            await asyncio.sleep(AGAIN_S)


def simulate(seed: int, profile: str = "mixed") -> World:
    """Play a seed in a world of its own.

    Args:
        seed: The seed.
        profile: One of ``plan.PROFILES``.

    Raises:
        AssertionError: Something does not hold; it names the seed.
        Exception: A worker has ended with it; a note names the seed.
    """
    clock = VirtualClock()
    limited = low_limits() if PROFILES[profile].large else contextlib.nullcontext()
    try:
        with virtual(clock, seed), limited, overheard() as log:
            world = World(clock, seed)
            try:
                with watched(world.problems):
                    Scenario(world, plan_of(seed, profile)).play()
            finally:
                log.close()
                world.close()
    except AssertionError as error:
        raise AssertionError(f"seed {seed} of {profile!r}: {error}") from error
    except Exception as error:
        error.add_note(f"seed {seed} of {profile!r}")
        raise
    return world


def trace_of(seed: int) -> str:
    """What tells one play of a seed from another."""
    world = simulate(seed)
    return f"{world.turns} turns, {world.network.calls} calls, {world.network.digest.hexdigest()}"
