"""What storage must promise: batches in, batches out.

A backend stores runs, journals, the stream, timers, activity tasks and lanes. It knows no
workflow code and never looks inside a frame. No method takes one item: a call is one round trip
and one transaction, whatever the size of the batch.

Whatever a call brings is bounded in bytes as well as in number: once it holds
``limits.BATCH_BYTES_MAX`` bytes of payloads it brings no further item, and who wants the rest asks
again.

Lanes are integers: ``queue_id * LANES_PER_QUEUE + crc32(workflow_id) % LANES_PER_QUEUE``. A queue
id stands for a (namespace, task queue) pair, or for a *side queue*: the runs of one workflow type
of a task queue, kept apart for the routers that host it. Run ids are 16 bytes (UUIDv7). Times are
integer milliseconds; durations are milliseconds. The *store's time* is its wall clock plus a stored
*shift* that makes up for jumps of that clock: by it goes all that is due, and every lease. When
runs started and closed, and how long closed ones are kept, goes by the wall clock.

The namespace is part of every address: an id of another namespace is an unknown one, whatever
is done with it. Where no namespace is given beside an id, it is that of the session or batch.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol, cast

from hotmesh.backends.numbers import ConflictPolicy as ConflictPolicy
from hotmesh.backends.numbers import MessageKind as MessageKind
from hotmesh.backends.numbers import ReusePolicy as ReusePolicy
from hotmesh.backends.numbers import RunStatus as RunStatus
from hotmesh.backends.outgoing import SendItem as SendItem
from hotmesh.backends.outgoing import SendOutcome as SendOutcome
from hotmesh.backends.outgoing import StartItem as StartItem
from hotmesh.backends.outgoing import StartOutcome as StartOutcome
from hotmesh.backends.pending_task import PendingTask, RunTasks
from hotmesh.backends.rollcall import Beat as Beat
from hotmesh.backends.rollcall import HeldTask as HeldTask
from hotmesh.backends.rollcall import Registration as Registration
from hotmesh.backends.rollcall import RouterRow as RouterRow
from hotmesh.core.rope import Bytes
from hotmesh.visibility.tree import Condition

new_list = cast("Callable[[], list[Any]]", list)
"""For fields of batches: calling ``list[bytes]`` takes twenty times as long as ``list``."""


OUTSIDE = b"outside"
"""Who has the claim of an attempt that a client completes: it stays when routers leave."""

ANY_SIZE = 2**62
"""More bytes than a message can have."""

LOST = -1
"""In place of the attempts that a new task has used: one, by somebody who may have stood down. The
activity may have ended since, as a task or by a client, and its result be on its way: no task is
made then, whose attempts would be numbered anew."""

KEEP = -1
"""A lease that ends when it would have ended anyway."""

STEADY_MS = 60_000
"""More than a call takes: a store's clock that is ahead of its caller's idea by more has jumped."""


class NoteItem(NamedTuple):
    """A value (JSON text) for a run's record from somebody who does not own the run."""

    namespace: str
    run_id: bytes
    name: str
    value: bytes


class MailItem(NamedTuple):
    """A datum for whoever waits for ``key`` in a namespace, now or later.

    The backend wraps nothing: it delivers ``prefix + varint(len(data)) + data`` is *not* its job;
    ``frame`` of the waiter has a hole at its end, so a delivered frame is ``waiter.frame + data``
    where ``data`` is already framed by the sender.
    """

    namespace: str
    key: str
    data: bytes


class WaitItem(NamedTuple):
    """A run waits for mail: delivered once as a RESULT message ``frame + data``."""

    namespace: str
    key: str
    lane: int
    run_id: bytes
    frame: bytes


@dataclass(slots=True)
class Step:
    """One batch of a router's pipe: what to apply, and how much to read. Columns, not objects.

    Applied in this order, in one transaction: fence, refusal check, journal, acks, timers, tasks,
    attributes, closes, starts, messages, moves, sends, waits, mails, replies. Then messages and
    timers are read. Attributes and messages of runs that do not exist are passed over.
    """

    router_id: bytes
    lanes: Sequence[int] = ()
    """Lanes to read: those this pipe owns."""
    room: int = 0
    """Messages to read at most (0 reads none)."""
    size_max: int = ANY_SIZE
    """Bytes that one of them may have; what is larger waits. Below ``limits.SMALL_BYTES_MAX``
    nothing is read that a step is only told of."""
    latest_ms: int | None = None
    """What the router takes the store's time for; it is never earlier. Delays are reckoned from
    there if the store's clock says something earlier, or later by more than a call may take."""

    journal_run: list[bytes] = field(default_factory=new_list)
    journal_seq: list[int] = field(default_factory=new_list)
    journal_frame: list[Bytes] = field(default_factory=new_list)
    """Large ones may be in pieces."""

    ack_lane: list[int] = field(default_factory=new_list)
    ack_id: list[int] = field(default_factory=new_list)

    timer_lane: list[int] = field(default_factory=new_list)
    timer_due: list[int] = field(default_factory=new_list)
    timer_run: list[bytes] = field(default_factory=new_list)
    timer_key: list[int] = field(default_factory=new_list)

    drop_timer_lane: list[int] = field(default_factory=new_list)
    drop_timer_due: list[int] = field(default_factory=new_list)
    drop_timer_run: list[bytes] = field(default_factory=new_list)
    drop_timer_key: list[int] = field(default_factory=new_list)

    task_queue: list[int] = field(default_factory=new_list)
    """Queue ids of activity tasks to insert. Where there is one of the same (run, seq) it stays as
    it is, claimed or not: a router that stood down has stored it (see :class:`HeldTask`)."""
    task_type: list[str] = field(default_factory=new_list)
    """What a worker must host to claim them: the activity's type."""
    task_lane: list[int] = field(default_factory=new_list)
    task_run: list[bytes] = field(default_factory=new_list)
    task_seq: list[int] = field(default_factory=new_list)
    task_attempt: list[int] = field(default_factory=new_list)
    """Attempts already used; the next claim makes it one more. ``LOST``: see there."""
    task_delay: list[int] = field(default_factory=new_list)
    task_frame: list[bytes] = field(default_factory=new_list)
    task_state: list[bytes] = field(default_factory=new_list)

    outside_run: list[bytes] = field(default_factory=new_list)
    """Unclaimed tasks whose first attempt is under way, completed by a client: until they are due
    they are claimed, by ``OUTSIDE``."""
    outside_seq: list[int] = field(default_factory=new_list)

    drop_task_run: list[bytes] = field(default_factory=new_list)
    """Tasks to delete whoever holds them (their result is no longer wanted)."""
    drop_task_seq: list[int] = field(default_factory=new_list)

    recall_task_run: list[bytes] = field(default_factory=new_list)
    """Tasks to take back: an unclaimed one is deleted and ``recall_task_frame`` sent to its lane;
    a claimed one is marked so that its worker's next beat says so (if ``recall_task_claimed``)."""
    recall_task_seq: list[int] = field(default_factory=new_list)
    recall_task_frame: list[bytes] = field(default_factory=new_list)
    recall_task_claimed: list[bool] = field(default_factory=new_list)

    attribute_run: list[bytes] = field(default_factory=new_list)
    attribute_name: list[str] = field(default_factory=new_list)
    attribute_value: list[bytes] = field(default_factory=new_list)
    """JSON text; b"" removes the name."""

    close_run: list[bytes] = field(default_factory=new_list)
    """Closing also removes the run's waits for mail (if ``close_waits``)."""
    close_lane: list[int] = field(default_factory=new_list)
    close_status: list[int] = field(default_factory=new_list)
    close_result: list[bytes] = field(default_factory=new_list)
    close_waits: list[bool] = field(default_factory=new_list)

    starts: list[StartItem] = field(default_factory=new_list)

    message_lane: list[int] = field(default_factory=new_list)
    """Messages to runs whose lane is known (a parent, itself)."""
    message_run: list[bytes] = field(default_factory=new_list)
    message_kind: list[int] = field(default_factory=new_list)
    message_frame: list[bytes] = field(default_factory=new_list)

    move_run: list[bytes] = field(default_factory=new_list)
    """Open runs that change lanes, with their unread EVENT messages; not one that is elsewhere than
    ``move_from``, or in another router's lane. One that closes goes back to its home lane."""
    move_from: list[int] = field(default_factory=new_list)
    move_to: list[int] = field(default_factory=new_list)

    sends: list[SendItem] = field(default_factory=new_list)
    waits: list[WaitItem] = field(default_factory=new_list)
    mails: list[MailItem] = field(default_factory=new_list)

    reply_id: list[bytes] = field(default_factory=new_list)
    reply_data: list[bytes] = field(default_factory=new_list)


class MessageRow(NamedTuple):
    """A message as read (any sequence with these positions). The last five are for START only."""

    id: int
    lane: int
    run_id: bytes
    frame: bytes
    workflow_id: str | None
    workflow_type: str | None
    header: bytes | None
    input: bytes | None
    journaled: bool | None
    """Whether the run has a journal already (a redelivery after a take-over), or has been moved to
    another lane: it is to be loaded."""


class TimerRow(NamedTuple):
    """A timer due within the horizon (any sequence with these positions)."""

    lane: int
    due_ms: int
    run_id: bytes
    key: int


@dataclass(slots=True)
class StepReply:
    """What a step brought back.

    ``fenced``: the router was declared dead. ``refused``: runs that can't close because an unread
    EVENT message waits for them. ``stale``: runs with journal rows in the step that are not stored
    as it believes: they are gone or closed, or what is stored of their journals is not just what
    precedes these rows. In each of these cases nothing was applied.
    """

    now_ms: int
    messages: Sequence[Sequence[object]] = ()
    timers: Sequence[Sequence[object]] = ()
    start_outcomes: Sequence[StartOutcome] = ()
    send_outcomes: Sequence[SendOutcome] = ()
    mail_lanes: Sequence[int] = ()
    """Lanes that mail was delivered to."""
    large_waits: bool = False
    """Whether a message of more than ``limits.LARGE_TURN_BYTES`` waits."""
    fenced: bool = False
    refused: Sequence[bytes] = ()
    stale: Sequence[bytes] = ()


@dataclass(slots=True)
class Tasks:
    """One batch of an activity worker: results, retries, beats, and room to claim."""

    namespace: str
    router_id: bytes
    queue_id: int
    """Where tasks are claimed; 0 (from outside a worker): nowhere."""
    lease_ms: int
    room: int = 0
    types: Sequence[str] | None = None
    """The activity types that may be claimed, those that the worker hosts; None claims any."""
    latest_ms: int | None = None
    """What the worker takes the store's time for: what is due later is not claimed, whatever the
    store's clock says. Delays as in :attr:`Step.latest_ms`. None believes the clock."""

    finish_run: list[bytes] = field(default_factory=new_list)
    """Finished attempts: the task is deleted and its frame sent to the run's lane as RESULT. A
    finish whose (run, seq, attempt) is not the claimed one changes nothing."""
    finish_seq: list[int] = field(default_factory=new_list)
    finish_attempt: list[int] = field(default_factory=new_list)
    finish_frame: list[bytes] = field(default_factory=new_list)

    retry_run: list[bytes] = field(default_factory=new_list)
    """Failed attempts to be tried again after a delay."""
    retry_seq: list[int] = field(default_factory=new_list)
    retry_attempt: list[int] = field(default_factory=new_list)
    retry_delay: list[int] = field(default_factory=new_list)
    retry_state: list[bytes] = field(default_factory=new_list)

    beat_run: list[bytes] = field(default_factory=new_list)
    """Claims to renew for ``beat_lease`` ms or not (``KEEP``); a ``beat_state`` None keeps it."""
    beat_seq: list[int] = field(default_factory=new_list)
    beat_attempt: list[int] = field(default_factory=new_list)
    beat_lease: list[int] = field(default_factory=new_list)
    beat_state: list[bytes | None] = field(default_factory=list[bytes | None])
    beat_outside: list[bool] = field(default_factory=new_list)
    """Whether the claim is ``OUTSIDE``'s from now on: a client completes the attempt."""


class TaskRow(NamedTuple):
    """A claimed task (any sequence with these positions)."""

    run_id: bytes
    seq: int
    lane: int
    attempt: int
    """The attempt this claim is, 1 for the first."""
    lost: bool
    """Whether the attempt before was claimed and its lease ran out."""
    frame: bytes
    state: bytes
    """Opaque: heartbeat details and last failure of earlier attempts."""
    scheduled_ms: int


@dataclass(slots=True)
class TasksReply:
    """What a task batch brought back."""

    now_ms: int
    tasks: Sequence[Sequence[object]] = ()
    next_due_ms: int | None = None
    """When the next task of the batch's types becomes claimable, if one is known."""
    finished_lanes: Sequence[int] = ()
    """Lanes that received results (to wake their owners)."""
    recalled: Sequence[tuple[bytes, int, int]] = ()
    """Beaten claims (run, seq, attempt) whose cancellation was asked for."""
    lost: Sequence[tuple[bytes, int, int]] = ()
    """Beats and finishes whose claim is no longer ours (or whose task is gone)."""


class RunRow(NamedTuple):
    """A run with everything known of it but its journal."""

    run_id: bytes
    namespace: str
    workflow_id: str
    workflow_type: str
    lane: int
    task_queue: str
    status: int
    header: bytes
    input: bytes
    result: bytes
    attributes: bytes
    """JSON object."""
    started_ms: int
    closed_ms: int
    """0 while open."""
    transitions: int
    """Journal rows (0 in lists: counted for a described run only)."""


class LoadedRun(NamedTuple):
    """A run with its journal, for replay."""

    run_id: bytes
    lane: int
    status: int
    workflow_id: str
    workflow_type: str
    header: bytes
    input: bytes
    frames: Sequence[bytes]
    attributes: bytes
    next_seq: int
    """One more than the seq of the last frame; another number than theirs says that some are
    missing."""


class Loads(NamedTuple):
    """What a load brought."""

    runs: Sequence[LoadedRun]
    """Those that were found, each with its whole journal."""
    left: Sequence[bytes]
    """Those to be asked for again, since there were enough bytes already."""


class Pending(NamedTuple):
    """Something that waits for a run, or that a run waits for."""

    kind: str
    """One of :data:`PENDING_KINDS`."""
    run_id: bytes
    number: int
    """A message's id, a timer's key, a task's seq; nothing of a wait for mail."""
    lane: int | None
    """Where it lies, or where what becomes of it goes; None: it is not known."""
    task_queue: str
    """The name of the task queue that has the lane; "" if none has."""
    queue_id: int = 0
    """A task's: of the queue in which it can be claimed."""
    activity_type: str = ""
    """A task's: the type under which it can be claimed."""
    damaged: str = ""
    """The column that is so damaged that nobody reads the row; "" if none is known to be."""


PENDING_KINDS = ("message", "timer", "task", "wait")
"""In the order in which :meth:`Backend.pending` reads them."""


@dataclass(slots=True)
class RunFilter:
    """Which runs to list, newest first."""

    namespace: str
    where: Condition | None = None
    """None: all."""
    before: bytes = b""
    """Only runs with a smaller run id (the page's end); b"" starts at the newest."""
    limit: int = 100


class RunPage(NamedTuple):
    """Runs as listed: their input and result are left out (b"")."""

    rows: Sequence[RunRow]
    more: bool
    """Whether there may be more behind the last one. Surely not, if false."""


class Session(Protocol):
    """A pipe's own connection to one namespace. One step at a time; several work side by side."""

    async def step(self, step: Step) -> StepReply:
        """Apply a batch and read the next one, in one round trip.

        A message is returned once per session until it is forgotten: the session remembers ids it
        has returned and not seen acknowledged, and re-reads behind its cursor so that a message
        that became visible late is found. Small ones (``limits.SMALL_BYTES_MAX``) come first, so
        that nobody waits behind the large ones of others; each step brings something of these too,
        the oldest first. Messages of one run keep their order. Timers are returned when due within
        the horizon; a timer may be returned again.

        A message to a lane of another namespace is dropped, as one to a run that is gone.

        Raises:
            BackendUnavailableError: nothing is known to have been applied; forget all, load again.
            BackendError: a lane to read is not one of the router's queue.
        """
        ...

    async def load(self, run_ids: Sequence[bytes]) -> Loads:
        """The runs with their journals, in seq order; unknown ones are left out.

        One run may have a longer journal than any batch: it comes alone, read in pages.
        """
        ...

    def forget(self, lanes: Sequence[int] | None = None) -> None:
        """Return the messages of these lanes (None: all) again, whatever was read before."""
        ...

    async def close(self) -> None:
        """Give the connection back."""
        ...


class Backend(Protocol):
    """A place where runs live."""

    name: str
    """"sqlite", "postgres" or "redis"."""
    url: str

    async def exists(self) -> bool:
        """Whether anything was ever stored here; asking makes no file, no schema and no key.

        Raises:
            BackendUnavailableError: it can't be reached.
            BackendAccessError: it does not let us in.
        """
        ...

    async def connect(self) -> None:
        """Open it and create or migrate the schema under a lock.

        Raises:
            SchemaVersionError: the stored schema is newer than this code.
            BackendUnavailableError: it can't be reached.
        """
        ...

    async def close(self) -> None: ...

    async def queue_id(self, namespace: str, task_queue: str, side: str = "") -> int:
        """The id of a task queue, or of its side queue for a workflow type (``side``).

        Made on first use and cached: see :func:`~hotmesh.backends.queue_ids.wanted_queue_id`. With
        each new connection a backend sees that the queues it knows are still there.
        """
        ...

    # Client: each call is a batch gathered by the write coalescer.
    async def start(self, items: Sequence[StartItem]) -> Sequence[StartOutcome]: ...
    async def send(self, items: Sequence[SendItem]) -> Sequence[SendOutcome]: ...
    async def mail(self, items: Sequence[MailItem]) -> Sequence[int]:
        """Deliver or keep each; the lanes delivered to."""
        ...

    async def results(
        self, namespace: str, run_ids: Sequence[bytes]
    ) -> Sequence[tuple[bytes, int, bytes]]:
        """(run id, status, result) of those that are closed; missing runs have status 0.

        With ``BATCH_BYTES_MAX`` bytes of results there may be more of them: ask again.
        """
        ...

    async def replies(
        self, namespace: str, reply_ids: Sequence[bytes], received: Sequence[bytes] = ()
    ) -> Sequence[tuple[bytes, bytes]]:
        """The replies that have arrived.

        They stay where they are, since this answer may be lost. Those that earlier calls have
        ``received`` are deleted; the others once they are stale.

        With ``BATCH_BYTES_MAX`` bytes of replies there may be more of them: ask again for those
        that have not come.
        """
        ...

    async def find(self, keys: Sequence[tuple[str, str, bytes]]) -> Sequence[RunRow | None]:
        """The runs of (namespace, workflow id, run id or b"" for the newest)."""
        ...

    async def runs(self, filter: RunFilter) -> RunPage: ...  # noqa: A002 - what it is
    async def attribute_names(
        self, namespace: str, wanted: Sequence[str], others: int
    ) -> Collection[str]:
        """Those of the wanted names that the records of a namespace's runs have, and some others.

        It does not look at the runs. Where ``NAMED_RUNS_MAX`` runs have a wanted name and none of
        them is in the namespace, the name counts as one that it has.

        Args:
            namespace: Whose runs.
            wanted: The names.
            others: How many other names of the namespace to tell at most.
        """
        ...

    async def journal(self, namespace: str, run_id: bytes) -> Sequence[bytes]:
        """The frames of a run in order; none of an unknown run."""
        ...

    async def tasks_of(
        self, namespace: str, run_id: bytes, seqs: Sequence[int]
    ) -> Sequence[PendingTask]: ...

    async def tasks_of_runs(
        self, namespace: str, run_ids: Sequence[bytes], limit: int
    ) -> Sequence[RunTasks]:
        """The activity tasks of many runs, in their order; of each the ``limit`` most tried ones.

        With ``BATCH_BYTES_MAX`` bytes there may be more runs than answers: ask again for the rest.
        """
        ...

    async def routers(self, namespace: str) -> Sequence[RouterRow]: ...

    async def pending(
        self, namespace: str, cursor: bytes, limit: int
    ) -> tuple[Sequence[Pending], bytes]:
        """One page of all that waits in a namespace, for whoever checks what is stored.

        What lies in a lane of no task queue at all, where the backend can see that, is in the pages
        of every namespace. Where a value is damaged it may be of another type than declared.

        Args:
            namespace: The namespace.
            cursor: Where the page begins: b"" at first, then what the last call returned.
            limit: Rows at most. A page may be shorter, or empty, and not be the last.

        Returns:
            The rows and the next page's cursor, b"" at the end.
        """
        ...

    async def prune(self, namespace: str, older_than_ms: int) -> int:
        """Delete runs that closed so long ago or longer, with their journals; how many."""
        ...

    # Routers
    async def beat(self, registration: Registration) -> Beat:
        """Join or renew; declare silent routers dead and free their lanes; take a fair share.

        The store's time never goes back behind what a live router has seen: if its clock does, its
        shift makes up for that. See :attr:`Registration.jump_ms` for jumps forward.

        A router that the store knows nothing of after its first beat is not alive.

        Fair share is ceil(LANES_PER_QUEUE / live routers of the queue that host workflows), also of
        each side queue of a hosted type that has open runs or was used within SIDE_QUEUE_KEEP_MS.
        Also deletes expired runs and stale replies, a bounded number at a time. A router id that
        joined in another namespace is not alive in this one.
        Raises BackendError if the queue is not one of the namespace.
        """
        ...

    async def release(self, namespace: str, router_id: bytes, lanes: Sequence[int]) -> None:
        """Give these lanes back; everything this router did in them is committed."""
        ...

    async def leave(self, namespace: str, router_id: bytes) -> None:
        """Give everything back at once: lanes, and claimed tasks as if their lease were over."""
        ...

    async def stand_down(
        self, namespace: str, router_id: bytes, lease_ms: int, held: Sequence[HeldTask]
    ) -> None:
        """A router that can't go on gives up its lanes and keeps what it has begun.

        In one transaction: what it holds becomes tasks of runs that are open, claimed for
        ``lease_ms`` where it has begun; its lanes are free; its later steps are fenced, as if it
        had been declared dead. Claims stay as they are. Steps in flight are waited for.

        A task that is there stays as it is, but for one of the same attempt that nobody has
        claimed: that is claimed. And that is all for a router that was not alive any more, for
        nobody knows what others have done since. So a call may be repeated.
        """
        ...

    def for_another_loop(self) -> Backend:
        """The same database for calls from another thread's event loop.

        It needs no ``connect``, opens connections when first used, and is to be closed by who
        asked for it, before this one is.
        """
        ...

    async def session(self, namespace: str, router_id: bytes, horizon_ms: int) -> Session:
        """A connection for steps of a router that has joined in the namespace."""
        ...

    async def tasks(self, batch: Tasks) -> TasksReply:
        """Finish, retry, renew and claim activity tasks in one round trip.

        What a batch claims is bounded in bytes too; how much it finishes is up to its maker.
        A task is claimable when it is due and its type is among the batch's; others cost nothing.
        Claiming moves the due time to the end of the lease and adds one to the attempt.

        Raises BackendError if the queue is not one of the namespace.
        """
        ...

    async def complete_task(
        self, namespace: str, run_id: bytes, seq: int, attempt: int, frame: bytes
    ) -> int | None:
        """Finish an activity from outside its worker (asynchronous completion).

        Args:
            namespace: Where.
            run_id: The run.
            seq: The activity's number in it.
            attempt: Which attempt it is that ended; 0: whichever, be it claimed or not.
            frame: What it is told.

        Returns:
            The lane of the run. None when it is not open, or its task is not claimed as this
            attempt: nothing was changed. An activity without a task is a first attempt of its
            router, or settled, which its run knows.
        """
        ...

    async def note(self, items: Sequence[NoteItem]) -> None:
        """Write values into the records of runs, of those that are there."""

    # Wake-up hints: may be lost or repeated, carry no truth.
    async def notify(self, hints: Sequence[tuple[str, str]]) -> None:
        """Publish (channel, payload) hints to every process, this one included."""
        ...

    async def listen(self, channel: str, callback: Callable[[str | None], None]) -> None:
        """Call back with each hint's payload; None means "something may have changed"."""
        ...

    async def unlisten(self, channel: str, callback: Callable[[str | None], None]) -> None: ...
