"""A pipe's session: its own connection, and what it has read of each lane.

All writes of a namespace happen one after the other, so message numbers become visible in order
and one number per lane says what has been read. Timers have a cursor of their own: how far the
horizon had reached when the lane's timers were last read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from hotmesh.backends.protocol import (
    Loads,
    MessageRow,
    SendOutcome,
    StartOutcome,
    Step,
    StepReply,
    TimerRow,
)
from hotmesh.backends.redis import codec, scripts
from hotmesh.backends.redis.servers import Route
from hotmesh.backends.shelf import Shelf
from hotmesh.exceptions import BackendError, BackendUnavailableError
from hotmesh.limits import BATCH_BYTES_MAX, LANES_PER_QUEUE

if TYPE_CHECKING:
    from hotmesh.backends.redis.backend import RedisBackend

TIMER_SLACK_MS_MAX = 100
"""How far the horizon moves before a lane's timers are read again."""

_DONE, _FENCED, _REFUSED, _STALE = 0, 1, 2, 3


class RedisSession:
    """One step at a time for one router; see `Session` in the protocol.

    Args:
        backend: For what a step says to other namespaces.
        route: This session's own way to the router's namespace.
        namespace: The router's.
        horizon_ms: How far ahead timers are returned.
    """

    def __init__(
        self, backend: RedisBackend, route: Route, namespace: str, horizon_ms: int
    ) -> None:
        self._backend = backend
        self._route = route
        self._namespace = namespace
        self._horizon_ms = horizon_ms
        self._slack_ms = min(TIMER_SLACK_MS_MAX, horizon_ms // 50)
        self._connection = 0
        """The number of the connection that everything was read over; 0 when nothing was."""
        self._shelf = Shelf()
        self._next_number: dict[int, int] = {}
        self._timers_until: dict[int, int] = {}
        self._late_seen = 0
        self._turn = 0

    async def step(self, step: Step) -> StepReply:
        """Apply a batch and read the next one, in one script.

        What the batch says to other namespaces goes out first, in calls of its own: a crash in
        between may repeat it (its receivers tell repetitions apart) and never loses it.
        """
        await self._meet_connection()
        abroad = await self._send_abroad(step) if self._has_abroad(step) else None
        if abroad is not None:
            step = abroad.rest
        if step.message_lane:
            step = await self._without_foreign_messages(step)
        lanes = self._lanes_in_turn(step.lanes)
        words = codec.step_words(step, self._reading(step, lanes))
        try:
            answer: list[Any] = await self._route.evaluate(scripts.STEP, words)
        except BackendUnavailableError:
            self.forget()
            self._connection = 0
            raise
        status, now_ms = answer[0], answer[1]
        if status == _FENCED:
            return StepReply(now_ms, fenced=True)
        if status == _REFUSED:
            return StepReply(now_ms, refused=answer[2])
        if status == _STALE:
            return StepReply(now_ms, stale=list(dict.fromkeys(answer[2])))
        assert status == _DONE, status
        _, _, flat, started, timers, self._late_seen, starts, sends, mail_lanes, large = answer
        messages = self._note_messages(codec.message_rows(flat, started), step.room)
        if step.room > 0 and (large or self._shelf):
            messages = await self._read_shelved(step, messages)
        elif self._turn and codec.bytes_read(messages) >= BATCH_BYTES_MAX:
            await self._route.forget_answer()
        reply = StepReply(
            now_ms,
            messages=messages,
            large_waits=self._shelf.has_large,
            timers=self._note_timers(timers, step),
            start_outcomes=codec.start_outcomes(starts),
            send_outcomes=codec.send_outcomes(sends),
            mail_lanes=mail_lanes,
        )
        return reply if abroad is None else abroad.merge(reply)

    async def _read_shelved(
        self, step: Step, rows: Sequence[Sequence[Any]]
    ) -> Sequence[Sequence[Any]]:
        """Put large messages by, and read those whose turn it is."""
        shelf = self._shelf
        given = shelf.sort(rows)
        room, read = step.room - len(given), codec.bytes_read(given)
        found: Sequence[Sequence[Any]] = ()
        while not found and (picked := shelf.pick(room, read, step.size_max)):
            try:
                flat, started = await self._route.evaluate(
                    scripts.MESSAGES, codec.messages_words(picked)
                )
            except BackendUnavailableError:
                self.forget()
                self._connection = 0
                raise
            await self._meet_connection()  # another server may have answered
            found = codec.message_rows(flat, started)  # nothing, if they are gone
            shelf.take(picked)
        if read + codec.bytes_read(found) >= BATCH_BYTES_MAX:
            await self._route.forget_answer()
        return [*given, *found]

    async def _meet_connection(self) -> None:
        """Take note of a new connection.

        Raises:
            BackendUnavailableError: There was one before: the database may have gone back.
        """
        number = await self._route.ready()
        if number == self._connection:
            return
        known, self._connection = self._connection, number
        self.forget()
        if known:
            raise BackendUnavailableError(
                "the connection to Redis was replaced by another: everything is read again"
            )

    async def load(self, run_ids: Sequence[bytes]) -> Loads:
        """The runs with their journals; unknown ones are left out."""
        if not run_ids:
            return Loads((), ())
        words = [codec.header({"bytes": BATCH_BYTES_MAX}), *run_ids]
        looked_at, answers = await self._route.evaluate(scripts.LOAD, words)
        for run_id, _, frames, length in answers:
            while len(frames) < length:
                page, length = await self._route.evaluate(
                    scripts.JOURNAL, codec.journal_words(run_id, len(frames))
                )
                frames += page
        runs = [codec.loaded_run(*answer[:3]) for answer in answers]
        return Loads(runs, run_ids[looked_at:])

    def forget(self, lanes: Sequence[int] | None = None) -> None:
        """Return messages and timers of these lanes (None: all) again."""
        self._shelf.forget(lanes)
        if lanes is None:
            self._next_number.clear()
            self._timers_until.clear()
            return
        for lane in lanes:
            self._next_number.pop(lane, None)
            self._timers_until.pop(lane, None)

    async def close(self) -> None:
        """Give the connection back."""
        await self._route.close()

    def _lanes_in_turn(self, lanes: Sequence[int]) -> Sequence[int]:
        """The lanes, each time from another one on while there is more than one read can take."""
        if not self._turn or not lanes:
            return lanes
        first = self._turn % len(lanes)
        return [*lanes[first:], *lanes[:first]]

    def _reading(self, step: Step, lanes: Sequence[int]) -> dict[str, Any]:
        """What the script is to read, and which timers others' sessions must notice."""
        own = set(lanes)
        return {
            "room": 0 if self._shelf.is_full else step.room,
            "bytes": BATCH_BYTES_MAX,
            "lanes": list(lanes),
            "cursors": [str(self._next_number.get(lane, 0)) for lane in lanes],
            "timers_until": [self._timers_until.get(lane, 0) for lane in lanes],
            "horizon": self._horizon_ms,
            "slack": self._slack_ms,
            "late_seen": self._late_seen,
            "late": [lane for lane in set(step.timer_lane) if lane not in own],
        }

    def _note_messages(self, rows: list[MessageRow], room: int) -> list[MessageRow]:
        for row in rows:
            self._next_number[row.lane] = codec.message_number(row.id) + 1
        is_full = len(rows) >= room or codec.bytes_read(rows) >= BATCH_BYTES_MAX
        self._turn = self._turn + 1 if rows and is_full else 0
        return rows

    def _note_timers(self, answers: Sequence[Any], step: Step) -> list[TimerRow]:
        """Timers the script found, and the step's own ones that lie behind the cursor."""
        rows: list[TimerRow] = []
        for lane, until, members in answers:
            self._timers_until[lane] = until
            rows += codec.timer_rows(lane, members)
        found = set(rows)
        until_of, reading = self._timers_until, set(step.lanes)
        for lane, due, run_id, key in zip(
            step.timer_lane, step.timer_due, step.timer_run, step.timer_key, strict=True
        ):
            row = TimerRow(lane, due, run_id, key)
            if lane in reading and due <= until_of.get(lane, 0) and row not in found:
                rows.append(row)
        return rows

    async def _without_foreign_messages(self, step: Step) -> Step:
        """The step without messages to lanes of other namespaces: nobody is there for them."""
        own = await self._backend.queues_in(self._namespace, step.message_lane)
        kept = [i for i, lane in enumerate(step.message_lane) if lane // LANES_PER_QUEUE in own]
        if len(kept) == len(step.message_lane):
            return step
        return replace(
            step,
            message_lane=[step.message_lane[i] for i in kept],
            message_run=[step.message_run[i] for i in kept],
            message_kind=[step.message_kind[i] for i in kept],
            message_frame=[step.message_frame[i] for i in kept],
        )

    def _has_abroad(self, step: Step) -> bool:
        namespace = self._namespace
        return (
            any(item.namespace != namespace for item in step.starts)
            or any(item.namespace != namespace for item in step.sends)
            or any(item.namespace != namespace for item in step.mails)
            or any(item.namespace != namespace for item in step.waits)
        )

    async def _send_abroad(self, step: Step) -> _Abroad:
        """Deliver what goes to other namespaces; the rest of the step, to be applied next."""
        namespace, backend = self._namespace, self._backend
        if any(item.namespace != namespace for item in step.waits):
            raise BackendError(
                f"a run of namespace {namespace!r} can't wait for mail of another namespace: "
                "on Redis the two may live on different nodes"
            )
        starts = [item for item in step.starts if item.namespace != namespace]
        sends = [item for item in step.sends if item.namespace != namespace]
        abroad = _Abroad(namespace, step)
        abroad.starts = await backend.start(starts)
        abroad.sends = await backend.send(sends)
        abroad.mail_lanes = await backend.mail(
            [item for item in step.mails if item.namespace != namespace]
        )
        abroad.rest = replace(
            step,
            starts=[item for item in step.starts if item.namespace == namespace],
            sends=[item for item in step.sends if item.namespace == namespace],
            mails=[item for item in step.mails if item.namespace == namespace],
        )
        return abroad


class _Abroad:
    """What went to other namespaces, to be put back in the order of the step."""

    def __init__(self, namespace: str, step: Step) -> None:
        self._namespace = namespace
        self._step = step
        self.rest = step
        self.starts: Sequence[StartOutcome] = ()
        self.sends: Sequence[SendOutcome] = ()
        self.mail_lanes: Sequence[int] = ()

    def merge(self, reply: StepReply) -> StepReply:
        """The reply with all outcomes, in the order of the step's items."""
        if reply.fenced or reply.refused or reply.stale:
            return reply
        start_sources = (iter(reply.start_outcomes), iter(self.starts))
        send_sources = (iter(reply.send_outcomes), iter(self.sends))
        return replace(
            reply,
            start_outcomes=[
                next(start_sources[item.namespace != self._namespace]) for item in self._step.starts
            ],
            send_outcomes=[
                next(send_sources[item.namespace != self._namespace]) for item in self._step.sends
            ],
            mail_lanes=[*reply.mail_lanes, *self.mail_lanes],
        )
