"""A pipe: one connection, a share of the lanes, and the loop that moves their runs.

Each turn applies what the last one decided and reads what is new, in one round trip; then runs are
brought up, activated, and their commands drained into the next step. Nothing leaves the process
before the step that says so has been applied.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterator, Sequence
from typing import Any

from hotmesh.backends.protocol import ANY_SIZE, MessageRow, Session, Step, StepReply
from hotmesh.core import DRAINED_FIELDS, Event, encode_event, kinds
from hotmesh.engine import wire
from hotmesh.engine.activity_task import ActivityTask
from hotmesh.exceptions import BackendError, BackendUnavailableError
from hotmesh.giving_back import let_go
from hotmesh.limits import (
    BATCH_MESSAGES_MAX,
    LANES_PER_QUEUE,
    LARGE_TURN_BYTES,
    RESULTS_BYTES_MAX,
    SMALL_BYTES_MAX,
    STEP_BYTES_MAX,
)
from hotmesh.printing import told
from hotmesh.retrying import PASSING, Backoff, complain
from hotmesh.router.activating import Activator
from hotmesh.router.closing import Closer
from hotmesh.router.collection import collection_paused
from hotmesh.router.effects import CommandTranslator, Effects
from hotmesh.router.late import answer_late
from hotmesh.router.leaving import Leaving
from hotmesh.router.local_activities import BUSY_SECONDS, LocalActivities
from hotmesh.router.memory import Activation, PipeMemory
from hotmesh.router.moving import Mover
from hotmesh.router.pipe_context import PipeContext
from hotmesh.router.read_rows import sound_rows
from hotmesh.router.recovering import Recovery
from hotmesh.router.refused_ends import RefusedEnds
from hotmesh.router.splitting import FencedError, apply_apart, parts_of, refuses_everything
from hotmesh.router.task_failures import TaskFailures

logger = logging.getLogger(__name__)

STARTED_AT_A_TIME = 256
"""Activities that are begun before the runs of those that have ended already move on."""

IDLE_POLL_SECONDS = 1.0
"""How long an idle pipe sleeps at most without a hint."""


class Pipe:
    """Moves the runs of its lanes. One task runs :meth:`run`; everything else is called on it."""

    def __init__(self, context: PipeContext, router_id: bytes) -> None:
        self._context = context
        self._router_id = router_id
        self._session: Session | None = None
        self._memory = memory = PipeMemory()
        memory.elsewhere = context.workflows.post
        self._core = memory.core
        self._leaving = Leaving()
        self._activities = LocalActivities(
            context, memory, self._leaving.lanes, self.wake, self._have_enough
        )
        translator = CommandTranslator(
            context.namespace, context.queue_ids, self._activities.place, self._activities.inflight
        )
        closer = Closer(context.converter, context.queue_ids)
        self._failures = TaskFailures(memory, context.clock, closer, context.engine.task_retry)
        self._mover = mover = Mover(context, memory)
        self._activator = Activator(
            context, memory, translator, closer, self._activities, self._failures, mover
        )
        self._recovery = Recovery(
            context, memory, translator, self._activities, self._failures, mover
        )
        self.lanes: list[int] = []
        self._lane_mask = 0
        self._wake: asyncio.Future[None] | None = None
        self._awake = True
        self._stopping = False
        self._dead = False
        self._went_back = False
        self._under_way: tuple[Step, Effects] | None = None
        """The step whose answer has not come."""
        self._sent_bytes = 0
        """What that step journals and answers."""
        self._large_waits = False
        """Whether messages may have been left where they are for their size."""
        self._refused_ends = RefusedEnds(context.transition_bytes_max)
        self._failures.gathering = self._refused_ends.gathering
        self._failures.refused_ends = self._refused_ends

    # What others call

    def wake(self) -> None:
        """Look for work at once."""
        self._awake = True
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)

    def wake_lanes(self, mask: int) -> None:
        """Look for work if one of these lanes is the pipe's; bit n stands for a queue's lane n."""
        if mask & self._lane_mask:
            self.wake()

    def assign(self, lanes: Sequence[int]) -> None:
        """These are the pipe's lanes now; new ones are read from their start."""
        new = [lane for lane in lanes if lane not in self.lanes]
        if not set(lanes).issuperset(self.lanes):
            self.read_again()  # nobody takes a lane from us but a database that went back
        if new and self._session is not None:
            self._session.forget(new)
        self._own(list(lanes))
        self._leaving.keep(lanes)
        if new:
            self.wake()

    def _own(self, lanes: list[int]) -> None:
        self.lanes = lanes
        self._lane_mask = sum({1 << lane % LANES_PER_QUEUE for lane in lanes})

    def give_up(self, lanes: Sequence[int]) -> None:
        """Let go of these lanes; they are reported once nothing is going on there."""
        self._leaving.add(lanes)
        self.wake()

    def read_again(self) -> None:
        """The database went back: what was read of it, and decided from that, does not count."""
        self._went_back = True
        self.wake()

    def start_nothing(self) -> None:
        """Leave activities to others from now on: this worker is about to go."""
        self._activities.hand_over()
        self.wake()

    def stop(self) -> None:
        """Commit what is in hand, then end."""
        self._activities.hand_over()
        self._stopping = True
        self.wake()

    def kill(self) -> None:
        """End at once: the tenure is over, nothing is committed any more."""
        self._dead = True
        self._activities.end()
        self.wake()

    def held(self) -> Iterator[tuple[ActivityTask, int]]:
        """First attempts: those that are committed, with an outcome that is not or without one, and
        those that the step under way asks for.

        Called by another thread while the event loop is held up. With each comes the seq of the
        transition that asked for it where its commit is not known yet, else -1.
        """
        under_way, not_sent = self._under_way, {id(each) for each in self._memory.effects.placed}
        transitions: dict[bytes, int] = {}
        unsure: set[int] = set()
        if under_way is not None:
            step, effects = under_way
            transitions = dict(zip(step.journal_run, step.journal_seq, strict=True))
            unsure = {id(each) for each in effects.placed}
        for task, _ in list(self._memory.effects.ended):
            yield task, -1
        for task in list(self._activities.inflight.values()):
            if id(task) not in not_sent:
                yield task, transitions.get(task.run_id, -1) if id(task) in unsure else -1

    def slot_free(self) -> None:
        """A slot for an activity is free."""
        self._activities.slot_free()

    @property
    def busy(self) -> bool:
        """Whether activities are running for this pipe's runs."""
        return bool(self._activities.inflight)

    # The loop

    async def run(self, session: Session) -> None:
        """Move runs until stopped."""
        self._session = session
        self._context.large_turn.join(self, self._weight)
        backoff = Backoff()
        try:
            while not self._dead:
                try:
                    idle = await self._turn(session)
                    backoff.reset()
                except PASSING as error:
                    complain(logger, self._context.database, "workflows wait: %s", error)
                    await backoff.pause()
                    continue
                finally:
                    self._let_go_of_turn()
                if idle:
                    if self._stopping and not self._has_results():
                        return
                    await self._sleep()
        finally:
            self._session = None
            self._context.large_turn.leave(self)
            for run_id in list(self._memory.states):
                self._memory.drop(run_id)
            await session.close()

    async def _turn(self, session: Session) -> bool:
        """One step and what follows from it; true when there was nothing to do."""
        self._awake = False
        if self._went_back:
            self._went_back = False
            self._start_over(self._memory.take_effects(), unknown=False)
        self._activities.slot_free()  # the safety net: once for each turn and idle poll
        if self._memory.kept_back:
            self._memory.bring_forward()
        if self._memory.local or self._activities.has_retries:
            # Results of this process go straight into the step, without a round trip before.
            await self._advance(session)
        if self._is_over():
            return True
        self._under_way = step, effects = self._drain()
        sent = self._context.clock.mark()
        try:
            reply = await session.step(step)
        except PASSING:
            self._under_way = None
            self._start_over(effects, unknown=True)
            raise
        except Exception as error:  # noqa: BLE001 - it refuses the data of some run
            await self._apply_apart(session, step, effects, error)
            return False
        finally:
            if self._sent_bytes >= STEP_BYTES_MAX:
                let_go(self._sent_bytes)
            self._sent_bytes = 0
            if self._context.large_turn.has_room_again():
                self._context.wake_all()
        self._context.clock.learn(sent, reply.now_ms)
        if self._is_over(reply):
            self._memory.effects.ended += effects.ended
            return True
        self._under_way = None
        if reply.stale:
            logger.warning(
                "the database does not hold run(s) %s as this router believed: it went back, or "
                "another router moved them; everything is read again",
                ", ".join(wire.run_id_text(run_id) for run_id in reply.stale),
            )
            self._start_over(effects, unknown=False)
            return False
        if reply.refused:
            self._on_refused_ends(effects, reply.refused)
            return False
        self._activities.stored(step)
        written, lanes, room = step.journal_run, step.lanes, step.room
        self._large_waits = reply.large_waits or step.size_max < SMALL_BYTES_MAX
        del step  # what it holds may be large, and so may what it has led to
        if reply.large_waits:
            self._context.large_turn.ask(self, self.wake)
        self._take_in(reply, room)
        reply.messages = ()
        if self._failures.any:
            self._failures.stored(written)
        if self._refused_ends:
            self._refused_ends.stored(written)
            self._core.give_whole(list(self._refused_ends))
        self._after_commit(effects, reply)
        self._report_quiet_lanes(lanes)
        self._memory.evict(self._context.max_cached, self._context.cache_bytes_max)
        self._activities.accept(effects.placed)
        cancelled = effects.cancelled
        del effects  # what is made from now on must not lie beside what is written
        await self._start_activities(cancelled)
        if self._is_over():
            return True
        await self._advance(session)
        return not self._has_work()

    def _let_go_of_turn(self) -> None:
        """Let another pipe have something large in hand, if nothing here is (any more)."""
        memory, turn = self._memory, self._context.large_turn
        if not turn.has(self) or memory.held:
            return
        activities = self._activities
        in_hand = memory.step_bytes + activities.startable_bytes + activities.largest_result
        if in_hand + memory.largest_leaving() <= LARGE_TURN_BYTES:
            turn.release(self)

    def _weight(self) -> int:
        """Bytes in hand that are not written yet."""
        return self._activities.result_bytes + self._memory.step_bytes + self._sent_bytes

    def _have_enough(self) -> bool:
        """Whether so much is to be written, here or by other pipes, that nothing large is made."""
        if self._memory.step_bytes + self._sent_bytes >= RESULTS_BYTES_MAX:
            return True  # once that is written this pipe looks again
        return self._context.large_turn.others_have_enough(self)

    def _is_over(self, reply: StepReply | None = None) -> bool:
        """Whether the tenure is over: nothing may follow, from that step neither."""
        if self._dead:
            return True
        if self._context.tenure.over or (reply is not None and reply.fenced):
            self._dead = True
            self._context.on_fenced()
        return self._dead

    def _has_work(self) -> bool:
        memory = self._memory
        return bool(
            memory.has_columns
            or memory.effects
            or memory.local
            or memory.loads
            or memory.held
            or self._activities.has_retries
            or self._core.has_ready()
            or self._refused_ends.goes_on
        )

    def _has_results(self) -> bool:
        """Whether something that was made here can be stored soon: others would make it again."""
        waits = self._activities.waits_for(self._failures.is_failing)
        return bool(self._memory.kept_back) or waits

    async def _sleep(self) -> None:
        if self._awake:
            return
        seconds = IDLE_POLL_SECONDS
        due = self._core.next_due()
        if due is not None:
            seconds = min(seconds, (due - self._context.clock.now_ms()) / 1000)
        postponed = self._memory.next_postponed()
        if postponed is not None:
            seconds = min(seconds, postponed)
        if seconds <= 0:
            return
        self._wake = asyncio.get_running_loop().create_future()
        handle = asyncio.get_running_loop().call_later(seconds, self.wake)
        try:
            await self._wake
        finally:
            handle.cancel()
            self._wake = None

    # Out: the step

    def _drain(self) -> tuple[Step, Effects]:
        lanes = self.lanes
        if self._leaving:
            lanes = self._lanes_to_read()
        room, size_max = BATCH_MESSAGES_MAX if self._may_read() else 0, LARGE_TURN_BYTES
        if self._memory.held:
            room, size_max = min(room, self._memory.room_beside_held()), SMALL_BYTES_MAX - 1
        elif room > 0 and self._may_read_large():
            size_max = ANY_SIZE
        columns: dict[str, Any] = dict(zip(DRAINED_FIELDS, self._core.drain(), strict=True))
        clock = self._context.clock
        latest_ms = clock.now_ms() if clock.is_read else None
        step = Step(self._router_id, lanes, room, size_max, latest_ms, **columns)
        self._memory.has_columns = False
        self._sent_bytes = self._memory.take_step_bytes()
        self._activities.amend_tasks(step)
        effects = self._memory.take_effects()
        effects.fill(step)
        self._mover.clear_left_behind(step)
        return step, effects

    def _lanes_to_read(self) -> list[int]:
        """The lanes, but for those that are about to go."""
        in_hand, refused = self._activities.in_hand(), self._refused_ends.run_ids
        read, begun = self._leaving.look(in_hand, refused)
        if begun and self._session is not None:
            self._session.forget(begun)  # what was written there meanwhile lies before the cursors
        leaving = self._leaving.lanes
        return [lane for lane in self.lanes if lane not in leaving or lane in read]

    def _may_read(self) -> bool:
        """Whether the next step reads: who stops reads only what a run must see that could not
        end."""
        return not self._stopping or bool(self._refused_ends)

    def _may_read_large(self) -> bool:
        """Whether the next step may read something large: not while there is such a thing in hand,
        here or in another pipe."""
        if self._memory.step_bytes > LARGE_TURN_BYTES:
            self.wake()  # once that is written
            return False
        if self._activities.startable_bytes > LARGE_TURN_BYTES:
            return False
        turn = self._context.large_turn
        if turn.has(self) and self._memory.largest_leaving() > LARGE_TURN_BYTES:
            self.wake()  # once this step has let go of that
            return False
        return turn.use(self)

    def _after_commit(self, effects: Effects, reply: StepReply) -> None:
        context = self._context
        if effects.published:
            context.publisher.publish(effects.published)
        self._answer_outcomes(effects, reply)
        touched = {lane for lane, _, _, _ in effects.messages}
        touched.update(start.lane for start in effects.starts)
        touched.update(outcome.lane for outcome in reply.send_outcomes if outcome.delivered)
        touched.update(reply.mail_lanes)
        if effects.moves:
            touched.update(lane for _, _, lane in effects.moves)
            context.on_moved()
        if touched:
            self._wake_lanes(touched)
        if effects.closed:
            context.notifier.done(effects.closed)
            if self._activities.inflight:
                self._activities.cancel(set(effects.closed))
            for run_id in effects.closed:
                if not self._core.known(run_id):
                    self._memory.drop(run_id)
        if effects.timers:
            self.wake()  # the core does not know them: they are read like everybody else's
        if effects.replies:
            context.notifier.done(reply_id for reply_id, _ in effects.replies)
        for queue_id in effects.task_queues:
            context.notifier.tasks(queue_id)
        if effects.recalls:
            # Whoever holds the task looks now; one that nobody holds came back to our lane.
            for queue_id in context.queue_ids.values():
                context.notifier.tasks(queue_id, "c")
            context.wake_all()

    async def _start_activities(self, cancelled: Sequence[tuple[bytes, int]]) -> None:
        """Begin what was committed. Runs whose activities end at once move on at once.

        Not all at once, so that what a run needs is found in the processor's cache; but many, for
        each time costs a change of threads.

        Args:
            cancelled: Activities, (run id, seq), that are to end.
        """
        activities, began = self._activities, time.perf_counter()
        while not self._memory.held and activities.start_waiting(STARTED_AT_A_TIME):
            if self._memory.local:
                await self._move()
            if time.perf_counter() - began > BUSY_SECONDS:
                await asyncio.sleep(0)
                began = time.perf_counter()
        for run_id, seq in cancelled:  # Not before: they may be among the new ones.
            activities.request_cancel(run_id, seq)

    def _wake_lanes(self, lanes: set[int]) -> None:
        context = self._context
        own = {lane for lane in lanes if lane >> 6 == context.queue_id}
        if own or context.serves_sides():
            context.wake_all()
        if lanes - own or not context.owns_all():
            context.notifier.lanes(lanes)

    def _answer_outcomes(self, effects: Effects, reply: StepReply) -> None:
        for owner, outcome, start in zip(
            effects.start_owners, reply.start_outcomes, effects.starts, strict=True
        ):
            if owner is None:
                if not outcome.started:
                    logger.error(
                        "the next run of workflow %r could not start: its id is taken by run %s",
                        start.workflow_id,
                        wire.run_id_text(outcome.run_id),
                    )
                continue
            kind = kinds.CHILD_STARTED if outcome.started else kinds.CHILD_START_FAILED
            event = (kind, owner.seq, 0, "", outcome.run_id, b"")
            self._memory.local.append((owner.run_id, event))
            if self._memory.is_postponed(owner.run_id):
                self._memory.loads.append(owner.run_id)  # it waits for that, see `Recovery`
        for owner, outcome in zip(effects.send_owners, reply.send_outcomes, strict=True):
            if owner is not None:
                kind = kinds.EXTERNAL_DONE if outcome.delivered else kinds.EXTERNAL_FAILED
                self._memory.local.append((owner.run_id, (kind, owner.seq, 0, "", b"", b"")))

    async def _apply_apart(
        self, session: Session, step: Step, effects: Effects, error: Exception
    ) -> None:
        """The database refuses a step: store what it takes, set the others' runs aside.

        Raises:
            BackendUnavailableError: It refuses all steps, or the store is away.
            BackendAccessError: It turns us away.
        """
        states, refused = dict(self._memory.states), dict[bytes, Exception]()
        parts = parts_of(step, effects)
        try:
            reason = await refuses_everything(session, step.router_id, step.latest_ms)
            if reason is not None:
                raise BackendUnavailableError(f"the database refuses every step: {told(reason)}")
            logger.warning("a step was refused, its runs are tried one by one: %s", told(error))
            refused = await apply_apart(session, parts)
        except FencedError:
            self._context.on_fenced()
            self._dead = True
            return
        finally:
            # What was stored is found when it is read again, as after an answer that got lost.
            self._start_over(effects, unknown=True)
        if not refused:  # together they may be too much; or it is what was to be read
            what = "but none of its runs' parts, which are stored now" if parts else "to read only"
            raise BackendUnavailableError(f"the database refuses a step, {what}: {told(error)}")
        for run_id, reason in refused.items():
            state = states.get(run_id)
            if state is not None:
                self._failures.refused(state, reason)
            else:
                logger.error(
                    "the database refuses what run %s left to be stored, it is lost: %s",
                    wire.run_id_text(run_id) if run_id else "(none)",
                    told(reason),
                )

    def _on_refused_ends(self, effects: Effects, run_ids: Sequence[bytes]) -> None:
        """Events came for runs that were about to end: they are read first.

        If none can be read (one lies in a wrong lane, or is counted that is not there), nothing of
        this pipe would ever be stored again. So such a run is set aside.
        """
        states = self._memory.states
        in_vain = self._refused_ends.refused(run_ids, counts=not self._large_waits)
        stuck = [states[each] for each in in_vain if each in states]
        self._core.give_whole(list(self._refused_ends))
        self._failures.any = True
        self._roll_back(effects)
        for state in stuck:
            self._failures.refused(
                state, BackendError("an event is stored for it that its router never reads")
            )

    def _start_over(self, effects: Effects, *, unknown: bool) -> None:
        """What the database holds is not known any more: read all of it again.

        Only what this process made itself is kept. Runs come back with what they have in the
        stream: a message, a timer, or the anchor of their local work.

        Args:
            effects: Of the step that has failed.
            unknown: Whether it may have been applied all the same.
        """
        memory = self._memory
        self._failures.lost(effects)
        for run_id in list(memory.states):
            memory.drop(run_id)
        memory.loads = self._activities.not_committed(effects, unknown=unknown)
        memory.held = []
        self._core.start_over()
        if self._session is not None:
            self._session.forget()

    def _roll_back(self, effects: Effects) -> None:
        """The step was not applied: forget the runs it touched, read again."""
        memory = self._memory
        self._failures.lost(effects)
        memory.loads += self._activities.not_committed(effects, unknown=False)
        touched = self._core.rollback()
        for run_id in touched:
            memory.drop(run_id)
        # Recovered work leaves no row in the core: such runs are taken in anew.
        recovered = [placed.run_id for placed in effects.placed]
        recovered += [owner.run_id for owner in effects.start_owners if owner is not None]
        recovered += [owner.run_id for owner in effects.send_owners if owner is not None]
        memory.drop_held({*touched, *recovered})
        for run_id in recovered:
            if memory.drop(run_id) and self._core.known(run_id):
                self._core.fail(run_id)
                memory.loads.append(run_id)
        if self._session is not None:
            self._session.forget()

    # In: what was read

    def _take_in(self, reply: StepReply, room: int) -> None:
        """The step is applied. What it has read reaches its runs before anything moves them."""
        messages: Sequence[MessageRow] = sound_rows(reply.messages, "message")
        timers = sound_rows(reply.timers, "timer")
        self._core.commit(messages, timers)
        memory = self._memory
        if messages or timers:
            memory.read += messages
            memory.has_columns = True
        if self._failures.any:
            # What comes for a failing run may be what it needs, or its end: don't wait longer.
            memory.loads += [row[2] for row in messages if self._failures.is_failing(row[2])]
        if self._refused_ends.gathering:
            memory.loads += self._refused_ends.has_read(messages, room, self._large_waits)

    async def _advance(self, session: Session) -> None:
        await self._move()
        memory = self._memory
        if memory.held:
            return  # much is in hand already
        loads = [*memory.loads, *memory.due_again()]
        memory.loads = []
        if loads:
            await self._load(session, list(dict.fromkeys(loads)))

    async def _move(self) -> None:
        """Give the core what has come and run the code it is for; runs to be loaded are noted.

        Nothing here fails when the store is away, so nothing that was read gets lost on the way.
        """
        memory = self._memory
        self._activities.settle_retries()
        turn = self._context.large_turn
        if self._activities.largest_result > LARGE_TURN_BYTES and not turn.use(self):
            turn.ask(self, self.wake)
            if not turn.use(self):
                memory.keep_back(LARGE_TURN_BYTES)
        local = memory.take_local()
        with collection_paused():
            activations, loads = self._ingest(local)
        memory.loads += loads
        await self._activate(activations)

    def _ingest(
        self, local: Sequence[tuple[bytes, Event]]
    ) -> tuple[Sequence[Activation], Sequence[bytes]]:
        """Have the core deliver what has come; the activations and the loads it asks for."""
        activations, loads, late, errors, expired = self._core.ingest(
            local, self._context.clock.now_ms()
        )
        for run_id, event in late:
            try:
                answer_late(self._memory.effects, run_id, event)
            except (TypeError, ValueError) as error:
                logger.error("a late message for run %s can't be read: %s", run_id.hex(), error)
        for message_id, lane, run_id, text in errors:
            logger.error(
                "message %d in lane %d for run %s can't be read and was dropped: %s",
                message_id,
                lane,
                wire.run_id_text(run_id),
                text,
            )
            self._failures.note(run_id, f"message {message_id}", text)
        for run_id, seq in expired:
            frame = encode_event((kinds.ACTIVITY_TIMED_OUT, seq, 1, "", b"", b""))
            self._memory.effects.recalls.append((run_id, seq, frame, False))
        if local or expired:
            self._memory.has_columns = True
        return activations, loads

    async def _activate(self, activations: Sequence[Activation]) -> None:
        memory = self._memory
        messages: list[MessageRow] = memory.take_read()
        if memory.held:
            activations, messages = memory.with_held(activations, messages)
        if activations:
            memory.has_columns = True
        self._activities.make_room()
        await self._activator.activate_all(activations, messages, lambda: self._dead)

    async def _load(self, session: Session, run_ids: Sequence[bytes]) -> None:
        await self._recovery.load(session, run_ids, self.lanes)
        if self._dead:
            return
        self._memory.has_columns = True
        with collection_paused():
            activations, more = self._ingest(())
        self._memory.loads.extend(more)
        await self._activate(activations)

    # Leftovers

    def _report_quiet_lanes(self, just_read: Sequence[int]) -> None:
        """Hand back lanes that are to leave and where nothing is going on any more."""
        if not self._leaving:
            return
        memory = self._memory
        active = {*self._activities.in_hand().values(), *just_read}
        if memory.held:
            active |= memory.held_lanes()
        for run_id, _ in (*memory.local, *memory.kept_back):
            state = memory.states.get(run_id)
            if state is not None:
                active.add(state.lane)
        quiet = [lane for lane in self._leaving if lane not in active and lane in self.lanes]
        if not quiet:
            return
        self._core.forget(quiet)
        gone = set(quiet)
        memory.drop_lanes(gone)
        self._activities.forget_lanes(gone)
        self._own([lane for lane in self.lanes if lane not in gone])
        self._leaving.drop(gone)
        if self._session is not None:
            self._session.forget(quiet)
        self._context.on_lanes_quiet(quiet)
