"""The Redis backend: each call of the protocol is one script on the namespace's node.

A namespace lives in one hash slot, so a batch is atomic on a cluster too, and the namespace is
what a cluster spreads over its nodes. Calls that may be repeated are repeated once, at once, when a
connection is lost; the others say that their outcome is unknown.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Any, TypeVar, cast

from hotmesh import json_bytes
from hotmesh.backends.outgoing import Tries
from hotmesh.backends.pending_task import PendingTask, RunTasks
from hotmesh.backends.protocol import (
    Beat,
    HeldTask,
    MailItem,
    NoteItem,
    Pending,
    Registration,
    RouterRow,
    RunFilter,
    RunPage,
    RunRow,
    RunStatus,
    SendItem,
    SendOutcome,
    StartItem,
    StartOutcome,
    Tasks,
    TasksReply,
)
from hotmesh.backends.queue_ids import misnamed_sides
from hotmesh.backends.redis import codec, durability, scripts
from hotmesh.backends.redis.filtering import compiled, task_queues
from hotmesh.backends.redis.hints import Hints
from hotmesh.backends.redis.names import Names, namespace_key
from hotmesh.backends.redis.pending_pages import pending_page
from hotmesh.backends.redis.scripts import Script
from hotmesh.backends.redis.servers import ClosedError, Route, Servers
from hotmesh.backends.redis.session import RedisSession
from hotmesh.backends.redis.url import parse_url
from hotmesh.core.rope import Rope
from hotmesh.exceptions import BackendError, InvalidArgumentError
from hotmesh.limits import BATCH_BYTES_MAX, LANES_PER_QUEUE, SIDE_QUEUE_KEEP_MS
from hotmesh.retrying import at_once

LINKS_PER_NAMESPACE = 4
"""Calls of clients and workers under way at once; sessions have connections of their own."""
TIMES = 2
"""How often a call that may be repeated is made: a connection that was idle may have been lost."""
SCAN_RUNS = 1000
"""Runs that one script looks at while listing or pruning: some milliseconds of the server."""

TIMER_HORIZON_MS_MAX = 60_000
"""A delayed start beyond it tells nobody of its timer (`LATE_WITHIN_MS` in common.lua)."""

_BOUND = codec.header({"bytes": BATCH_BYTES_MAX})
_Item = TypeVar("_Item", StartItem, SendItem, MailItem)
_Outcome = TypeVar("_Outcome")


class RedisBackend:
    """Redis 6.2+ or Valkey, alone, with replicas and sentinels, or as a cluster.

    Args:
        url: See :func:`hotmesh.backends.redis.url.parse_url`; the query's ``prefix`` (default
            ``hotmesh``) is put before every key and channel, other parameters are redis-py's.

    Raises:
        InvalidArgumentError: the URL can't be understood.
    """

    name = "redis"

    def __init__(self, url: str) -> None:
        self.url = url
        parsed = parse_url(url)
        self._prefix = parsed.prefix
        self._servers = Servers(parsed)
        self._names = Names(self._servers, self._prefix)
        self._hints = Hints(self._servers, self._names.route, self._prefix)
        self._routes: dict[str, Route] = {}
        self._joined: set[tuple[str, bytes]] = set()
        """Namespaces and ids of routers that have joined here."""
        self._closed = False

    async def exists(self) -> bool:
        """Whether there is anything under the prefix."""
        await self._servers.discover()
        try:
            return await self._names.exists()
        finally:
            await self._names.route.drop_idle()

    async def connect(self) -> None:
        """Find the nodes, check the user's rights and the layout's version, and warn of settings
        that lose data.
        """
        try:
            await self._servers.discover()
            await self._names.check_rights()
            await self._names.check_schema()
            await durability.check(self._servers)
        except BaseException:
            await self._names.route.drop_idle()
            raise

    async def close(self) -> None:
        """Drop every connection; a second time does nothing."""
        self._closed = True
        await self._hints.close()
        for route in self._routes.values():
            await route.close()
        await self._names.route.close()

    async def queue_id(self, namespace: str, task_queue: str, side: str = "") -> int:
        """The id of a task queue or side queue, made on first use and cached."""
        return await at_once(lambda: self._names.queue_id(namespace, task_queue, side), TIMES)

    # -- Client --

    async def start(self, items: Sequence[StartItem]) -> Sequence[StartOutcome]:
        """Create runs; repeated safely, since a run id is only ever started once."""

        def words_of(part: Sequence[StartItem]) -> codec.Words:
            words: codec.Words = [b""]
            words[0] = codec.header({"starts": codec.add_starts(part, words)})
            return words

        async def call(namespace: str, part: Sequence[StartItem]) -> list[StartOutcome]:
            tries = Tries(part)
            answers = await self._again(namespace, scripts.START, lambda: words_of(tries()))
            return codec.start_outcomes(answers)

        return await _by_namespace(items, call)

    async def send(self, items: Sequence[SendItem]) -> Sequence[SendOutcome]:
        """Send messages; repeated when the connection is lost: receivers drop repetitions, see
        `again_ms`.
        """

        def words_of(part: Sequence[SendItem]) -> codec.Words:
            words: codec.Words = [b""]
            words[0] = codec.header({"sends": codec.add_sends(part, words)})
            return words

        async def call(namespace: str, part: Sequence[SendItem]) -> list[SendOutcome]:
            tries = Tries(part)
            answers = await self._again(namespace, scripts.SEND, lambda: words_of(tries()))
            return codec.send_outcomes(answers)

        return await _by_namespace(items, call)

    async def mail(self, items: Sequence[MailItem]) -> Sequence[int]:
        """Deliver or keep each; the lanes delivered to. Not repeated: mail has no identity."""
        parts: defaultdict[str, list[MailItem]] = defaultdict(list)
        for item in items:
            parts[item.namespace].append(item)
        lanes: list[int] = []
        for namespace, part in parts.items():
            words: codec.Words = [b""]
            words[0] = codec.header({"mails": codec.add_mails(part, words)})
            lanes += await self._once(namespace, scripts.MAIL, words)
        return lanes

    async def results(
        self, namespace: str, run_ids: Sequence[bytes]
    ) -> Sequence[tuple[bytes, int, bytes]]:
        """(run id, status, result) of those that are closed; missing runs have status 0."""
        flat = await self._again(namespace, scripts.RESULTS, [_BOUND, *run_ids])
        found = zip(run_ids, flat[::2], flat[1::2], strict=True)
        return [row for row in found if row[1] != RunStatus.RUNNING]

    async def replies(
        self, namespace: str, reply_ids: Sequence[bytes], received: Sequence[bytes] = ()
    ) -> Sequence[tuple[bytes, bytes]]:
        """The replies that have arrived; those that earlier calls have received are deleted."""
        numbers = {"received": len(received), "bytes": BATCH_BYTES_MAX}
        words = [codec.header(numbers), *received, *reply_ids]
        flat = await self._again(namespace, scripts.REPLIES, words)
        return [*zip(flat[::2], flat[1::2], strict=True)]

    async def find(self, keys: Sequence[tuple[str, str, bytes]]) -> Sequence[RunRow | None]:
        """The runs of (namespace, workflow id, run id or b"" for the newest)."""
        rows: list[RunRow | None] = [None] * len(keys)
        parts: dict[str, list[int]] = {}
        for position, key in enumerate(keys):
            parts.setdefault(key[0], []).append(position)
        for namespace, positions in parts.items():
            words: codec.Words = [codec.EMPTY_HEADER]
            for position in positions:
                words += keys[position][1:]
            answers = await self._again(namespace, scripts.FIND, words)
            for position, answer in zip(positions, answers, strict=True):
                if answer is not None:
                    rows[position] = await self._run_row(namespace, *answer)
        return rows

    async def runs(self, filter: RunFilter) -> RunPage:  # noqa: A002 - the protocol's name
        """Runs that match, newest first; looks through the namespace's runs page by page."""
        queue_ids = {
            name: await self._names.ids_of(filter.namespace, name)
            for name in set(task_queues(filter.where))
        }
        where = compiled(filter.where, queue_ids)
        rows: list[RunRow] = []
        before, room = filter.before, BATCH_BYTES_MAX
        while len(rows) <= filter.limit and room > 0:
            wanted = filter.limit + 1 - len(rows)
            numbers = {"scan": SCAN_RUNS, "limit": wanted, "bytes": room, "where": where}
            words: codec.Words = [codec.header(numbers), before]
            before, found = await self._again(filter.namespace, scripts.LIST, words)
            for run_id, columns in found:
                rows.append(await self._run_row(filter.namespace, run_id, columns, 0))
                room -= sum(map(len, columns[1::2]))
            if not before:
                break
        return RunPage(rows[: filter.limit], len(rows) > filter.limit or room <= 0)

    async def attribute_names(
        self, namespace: str, wanted: Sequence[str], others: int
    ) -> Collection[str]:
        """Those of the wanted names that records have, and some others."""
        words = [codec.header({"names": len(wanted), "others": others}), *wanted]
        found = await self._again(namespace, scripts.ATTRIBUTE_NAMES, words)
        return {name.decode() for name in found}

    async def journal(self, namespace: str, run_id: bytes) -> Sequence[bytes]:
        """The frames of a run in order; none of an unknown run."""
        frames: list[bytes] = []
        length = 1
        while len(frames) < length:
            words = codec.journal_words(run_id, len(frames))
            page, length = await self._again(namespace, scripts.JOURNAL, words)
            frames += page
        return frames

    async def pending(
        self, namespace: str, cursor: bytes, limit: int
    ) -> tuple[Sequence[Pending], bytes]:
        """One page of all that waits in a namespace: of one lane or one task queue at a time."""

        async def ask(numbers: Mapping[str, Any], start: bytes) -> Any:
            return await self._again(namespace, scripts.PENDING, [codec.header(numbers), start])

        return await pending_page(self._names, ask, namespace, cursor, limit)

    async def tasks_of(
        self, namespace: str, run_id: bytes, seqs: Sequence[int]
    ) -> Sequence[PendingTask]:
        """Those of a run's activities that are tasks, by their seqs."""
        words = [codec.header({"seqs": list(seqs)}), run_id]
        return [_pending_task(row) for row in await self._again(namespace, scripts.TASKS_OF, words)]

    async def tasks_of_runs(
        self, namespace: str, run_ids: Sequence[bytes], limit: int
    ) -> Sequence[RunTasks]:
        """The most tried activity tasks of each run."""
        numbers = {"limit": limit, "bytes": BATCH_BYTES_MAX, "runs": len(run_ids)}
        words = [codec.header(numbers), *run_ids]
        found = await self._again(namespace, scripts.TASKS_OF_RUNS, words)
        return [RunTasks(total, [*map(_pending_task, rows)]) for total, rows in found]

    async def routers(self, namespace: str) -> Sequence[RouterRow]:
        """The rollcall of a namespace: live routers, and dead ones for an hour."""
        rows: list[RouterRow] = []
        for router_id, queue_id, lanes, seen_ms, alive, info in await self._again(
            namespace, scripts.ROUTERS, [codec.EMPTY_HEADER]
        ):
            _, task_queue = await self._names.queue(queue_id)
            rows.append(
                RouterRow(
                    router_id, namespace, queue_id, task_queue, lanes, seen_ms, alive == 1, info
                )
            )
        return rows

    async def prune(self, namespace: str, older_than_ms: int) -> int:
        """Delete runs that closed so long ago or longer, with their journals; how many."""
        deleted, page = 0, b""
        while True:
            numbers = {"scan": SCAN_RUNS, "older_than": older_than_ms}
            words = [codec.header(numbers), page]
            page, count = await self._again(namespace, scripts.PRUNE, words)
            deleted += count
            if not page:
                return deleted

    # -- Routers --

    async def beat(self, registration: Registration) -> Beat:
        """Join or renew. A router that has joined here never joins a second time by itself."""
        router_id, namespace = registration.router_id, registration.namespace
        await self._check_queue(namespace, registration.queue_id)
        numbers = {
            "queue": registration.queue_id,
            "hosts": registration.hosts_workflows,
            "lease": registration.lease_ms,
            "join": (namespace, router_id) not in self._joined,
            "beats": registration.beats,
            "side_keep": SIDE_QUEUE_KEEP_MS,
            "jump": registration.jump_ms,
            "jump_shift": registration.jump_shift_ms,
        }
        if registration.latest_ms is not None:
            numbers["latest"] = registration.latest_ms
        types = registration.workflow_types
        hosted = b"" if types is None else json_bytes.dumps(list(types))
        rest = [router_id, registration.info, hosted]
        answer = await self._again(namespace, scripts.BEAT, [codec.header(numbers), *rest])
        self._joined.add((namespace, router_id))
        for stored, side, queue_id in await self._damaged_sides(registration, answer.pop()):
            numbers |= {"mend": queue_id, "join": False}
            words = [codec.header(numbers), *rest, stored, side]
            *answer, _ = await self._again(namespace, scripts.BEAT, words)
        alive, now_ms, lanes, surplus, routers, shift_ms, went_back = answer
        return Beat(alive == 1, now_ms, lanes, surplus, routers, shift_ms, went_back == 1)

    async def _damaged_sides(
        self, registration: Registration, flat: Sequence[bytes]
    ) -> list[tuple[bytes, str, int]]:
        """The task queue's damaged side queues: what is stored as the id, the type, the id."""
        if not flat:
            return []
        own = await self._names.queue(registration.queue_id)
        rows = [
            (int(stored) if stored.isdigit() else stored, *own, side.decode(errors="replace"))
            for stored, side in zip(flat[::2], flat[1::2], strict=True)
        ]
        return [
            (_bytes_of(stored), key[2], await self.queue_id(*key))
            for stored, key in misnamed_sides(own, registration.workflow_types, rows)
        ]

    async def release(self, namespace: str, router_id: bytes, lanes: Sequence[int]) -> None:
        """Give these lanes back; everything this router did in them is committed."""
        if lanes:
            words = [codec.header({"lanes": list(lanes)}), router_id]
            await self._again(namespace, scripts.RELEASE, words)

    async def leave(self, namespace: str, router_id: bytes) -> None:
        """Give everything back at once: lanes, and claimed tasks as if their lease were over."""
        await self._again(namespace, scripts.LEAVE, [codec.EMPTY_HEADER, router_id])
        self._joined.discard((namespace, router_id))

    async def stand_down(
        self, namespace: str, router_id: bytes, lease_ms: int, held: Sequence[HeldTask]
    ) -> None:
        """Give up the lanes, keep what has begun; see the protocol."""
        numbers = {
            "lease": lease_ms,
            "queue": [each.queue_id for each in held],
            "lane": [each.lane for each in held],
            "seq": [each.seq for each in held],
            "attempt": [each.attempt for each in held],
            "transition": [each.transition for each in held],
        }
        words: codec.Words = [codec.header(numbers), router_id]
        words += [each.activity_type for each in held]
        words += [each.run_id for each in held]
        words += [each.frame for each in held]
        await self._again(namespace, scripts.STAND_DOWN, words)

    def for_another_loop(self) -> RedisBackend:
        """The same database for another event loop; what is known of its nodes is shared."""
        other = RedisBackend(self.url)
        other._servers.know(self._servers)
        return other

    async def session(self, namespace: str, router_id: bytes, horizon_ms: int) -> RedisSession:
        """A pipe's session; steps name their router themselves.

        Raises:
            InvalidArgumentError: the horizon is beyond `TIMER_HORIZON_MS_MAX`.
        """
        if horizon_ms > TIMER_HORIZON_MS_MAX:
            raise InvalidArgumentError(
                f"a timer horizon of {horizon_ms} ms is more than {TIMER_HORIZON_MS_MAX}"
            )
        route = Route(self._servers, namespace_key(self._prefix, namespace), size=1)
        return RedisSession(self, route, namespace, horizon_ms)

    async def tasks(self, batch: Tasks) -> TasksReply:
        """Finish, retry, renew and claim activity tasks in one script. Not repeated."""
        namespace = batch.namespace
        if batch.queue_id:
            await self._check_queue(namespace, batch.queue_id)
        answer: list[Any] = await self._once(namespace, scripts.TASKS, codec.tasks_words(batch))
        now_ms, rows, next_due, lanes, *positions = answer
        recalled, lost_beats, lost_finishes = cast("list[list[int]]", positions)
        beats = [*zip(batch.beat_run, batch.beat_seq, batch.beat_attempt, strict=True)]
        finishes = [*zip(batch.finish_run, batch.finish_seq, batch.finish_attempt, strict=True)]
        return TasksReply(
            now_ms,
            tasks=codec.task_rows(rows),
            next_due_ms=None if next_due == b"" else next_due,
            finished_lanes=lanes,
            recalled=[beats[position - 1] for position in recalled],
            lost=[beats[position - 1] for position in lost_beats]
            + [finishes[position - 1] for position in lost_finishes],
        )

    async def complete_task(
        self, namespace: str, run_id: bytes, seq: int, attempt: int, frame: bytes
    ) -> int | None:
        """Finish an activity from outside its worker; see the protocol.

        Repeated when the connection is lost: a result is only taken once by its run.
        """
        words = [codec.header({"seq": seq, "attempt": attempt}), run_id, frame]
        lane: int | None = await self._again(namespace, scripts.COMPLETE_TASK, words)
        return lane

    async def note(self, items: Sequence[NoteItem]) -> None:
        """Write values into the records of runs; those of runs that are not there are dropped."""
        for namespace in {item.namespace for item in items}:
            words: codec.Words = [codec.EMPTY_HEADER]
            for item in items:
                if item.namespace == namespace:
                    words += item[1:]
            await self._again(namespace, scripts.NOTE, words)

    # -- Wake-up hints --

    async def notify(self, hints: Sequence[tuple[str, str]]) -> None:
        """Publish (channel, payload) hints to every process, this one included."""
        await at_once(lambda: self._hints.notify(hints), TIMES)

    async def listen(self, channel: str, callback: Callable[[str | None], None]) -> None:
        """Call back with each hint's payload; None means "something may have changed"."""
        await self._hints.listen(channel, callback)

    async def unlisten(self, channel: str, callback: Callable[[str | None], None]) -> None:
        """Stop calling back."""
        await self._hints.unlisten(channel, callback)

    # -- For sessions --

    async def queues_in(self, namespace: str, lanes: Sequence[int]) -> set[int]:
        """Those queue ids of lanes that lie in a namespace."""
        queues = {lane // LANES_PER_QUEUE for lane in lanes}
        return {each for each in queues if await self._names.namespace_of(each) == namespace}

    # -- Inside --

    def _route(self, namespace: str) -> Route:
        route = self._routes.get(namespace)
        if route is None:
            if self._closed:
                raise ClosedError("this Redis backend was closed")
            key = namespace_key(self._prefix, namespace)
            route = self._routes[namespace] = Route(self._servers, key, LINKS_PER_NAMESPACE)
        return route

    async def _once(
        self, namespace: str, script: Script, words: Sequence[bytes | str | Rope]
    ) -> Any:
        return await self._route(namespace).evaluate(script, words)

    async def _again(
        self,
        namespace: str,
        script: Script,
        words: Sequence[bytes | str | Rope] | Callable[[], Sequence[bytes | str | Rope]],
    ) -> Any:
        """Run a script that may be run twice; its words may differ from try to try."""
        route = self._route(namespace)
        made = words if callable(words) else lambda: words
        return await at_once(lambda: route.evaluate(script, made()), TIMES)

    async def _check_queue(self, namespace: str, queue_id: int) -> None:
        if await self._names.namespace_of(queue_id) != namespace:
            raise BackendError(f"task queue {queue_id} is not one of namespace {namespace!r}")

    async def _run_row(
        self, namespace: str, run_id: bytes, columns: Sequence[bytes], transitions: int
    ) -> RunRow:
        queue_id = codec.run_lane(columns) // LANES_PER_QUEUE
        known = await self._names.namespace_of(queue_id) is not None  # a damaged lane is in none
        task_queue = (await self._names.queue(queue_id))[1] if known else ""
        return codec.run_row(namespace, task_queue, run_id, columns, transitions)


def _bytes_of(stored: int | bytes) -> bytes:
    return stored if isinstance(stored, bytes) else b"%d" % stored


def _pending_task(row: Sequence[Any]) -> PendingTask:
    return PendingTask(*row[:-1], recalled=row[-1] == 1)


async def _by_namespace(
    items: Sequence[_Item],
    call: Callable[[str, Sequence[_Item]], Awaitable[list[_Outcome]]],
) -> list[_Outcome]:
    """One call for each namespace among the items; outcomes in the order of the items."""
    parts: dict[str, list[_Item]] = {}
    for item in items:
        parts.setdefault(item.namespace, []).append(item)
    outcomes = {namespace: iter(await call(namespace, part)) for namespace, part in parts.items()}
    return [next(outcomes[item.namespace]) for item in items]
