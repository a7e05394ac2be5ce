"""A world in miniature around a router: a store, a workflow, workers, children, crashes.

Everything the router decides is checked against the rules of the store (no journal row twice, no
acknowledgement of what is not there), and a deterministic workflow counts what reaches it.
"""

from __future__ import annotations

import random
from collections import Counter
from copy import deepcopy
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

from hotmesh.core import DRAINED_FIELDS, encode_event, encode_event_prefix, kinds

LANE = 70
QUEUE = 7
HORIZON_MS = 50
START = (kinds.START, 0, 0, "", b"", b"")


def signal(name: str, identity: bytes) -> tuple:
    return (kinds.SIGNAL, 0, 0, name, identity, b"payload " + identity)


class Workflow:
    """Starts work of every kind for each signal, ends once everything is settled."""

    def __init__(self, signals: int) -> None:
        self.expected = signals
        self.seen: Counter[tuple[int, int, str, bytes]] = Counter()
        self.next_seq = 1
        self.waiting: set[int] = set()

    def run(self, jobs: list[tuple], now_ms: int) -> list[tuple]:
        """The commands that these jobs lead to."""
        commands: list[tuple] = []
        for kind, seq, _, name, identity, body in jobs:
            if kind == kinds.QUERY:
                continue
            self.seen[kind, seq, name, identity or body] += 1
            if kind in (kinds.START, kinds.SIGNAL):
                commands += self._work(now_ms)
            elif kind != kinds.CHILD_STARTED:
                self.waiting.discard(seq)
        signals = sum(key[0] == kinds.SIGNAL for key in self.seen)
        if not self.waiting and signals == self.expected:
            commands.append((kinds.COMPLETE, 0, 0, "", b"", b"ok"))
        return commands

    def _work(self, now_ms: int) -> list[tuple]:
        first = self.next_seq
        self.next_seq += 7
        self.waiting.update({*range(first, first + 6)})
        return [
            (kinds.ACTIVITY, first, 0, "eager", b"", b"args"),
            (kinds.ACTIVITY, first + 1, QUEUE, "task", b"", b"args"),
            (kinds.DEADLINE, first + 1, now_ms + 10_000_000, "", b"\x02", b""),
            (kinds.DEADLINE, first + 1, now_ms + 3, "", b"\x01", b""),
            (kinds.TIMER, first + 2, now_ms + 5, "", b"", b""),
            (kinds.CHILD, first + 3, 0, "child", b"", b""),
            (kinds.WAIT, first + 4, 0, f"key-{first}", b"", b""),
            (kinds.SIGNAL_EXTERNAL, first + 5, 0, "other", b"", b""),
            (kinds.TIMER, first + 6, now_ms + 90, "", b"", b""),
            (kinds.CANCEL_TIMER, first + 6, 0, "", b"", b""),
        ]


@dataclass
class Store:
    """What survives a crash."""

    messages: dict[int, tuple[bytes, bytes]] = field(default_factory=dict)  # run, frame
    timers: dict[tuple[bytes, int], int] = field(default_factory=dict)  # due
    tasks: dict[tuple[bytes, int], bytes] = field(default_factory=dict)  # frame
    journals: dict[bytes, list[bytes]] = field(default_factory=dict)
    closed: dict[bytes, bytes] = field(default_factory=dict)
    last_id: int = 0

    def send(self, run_id: bytes, frame: bytes) -> None:
        self.last_id += 1
        self.messages[self.last_id] = (run_id, frame)

    def apply(self, columns: dict[str, list]) -> None:
        rows = zip(
            columns["journal_run"], columns["journal_seq"], columns["journal_frame"], strict=True
        )
        for run_id, seq, frame in rows:
            journal = self.journals.setdefault(run_id, [])
            assert seq == len(journal), "a journal row out of order"
            assert run_id not in self.closed, "a journal row of a closed run"
            journal.append(frame)
        for message_id in columns["ack_id"]:
            del self.messages[message_id]
        timers = zip(columns["timer_run"], columns["timer_key"], columns["timer_due"], strict=True)
        for run_id, key, due_ms in timers:
            assert (run_id, key) not in self.timers, "a timer written twice"
            self.timers[run_id, key] = due_ms
        drops = zip(
            columns["drop_timer_run"],
            columns["drop_timer_key"],
            columns["drop_timer_due"],
            strict=True,
        )
        for run_id, key, due_ms in drops:
            # A deadline that expired before a crash is dropped again when its activity ends.
            assert self.timers.pop((run_id, key), due_ms) == due_ms
        self.tasks.update(
            ((run_id, seq), frame)
            for run_id, seq, frame in zip(
                columns["task_run"], columns["task_seq"], columns["task_frame"], strict=True
            )
        )
        for key in zip(columns["drop_task_run"], columns["drop_task_seq"], strict=True):
            self.tasks.pop(key, None)
        for run_id, result in zip(columns["close_run"], columns["close_result"], strict=True):
            assert run_id not in self.closed, "a run closed twice"
            self.closed[run_id] = result


class World:
    """One store, one router at a time, and everything around them."""

    def __init__(self, core: ModuleType, seed: int, runs: int, signals: int) -> None:
        self.core = core
        self.random = random.Random(seed)
        self.signals = signals
        self.store = Store()
        self.now_ms = 1_000
        self.run_ids = [bytes([number + 1]) * 16 for number in range(runs)]
        self.trace: list[Any] = []
        for run_id in self.run_ids:
            self.store.send(run_id, encode_event(START))
        self.copy = deepcopy(self.store)
        self.reset()

    def reset(self) -> None:
        """A new process takes over."""
        self.router = self.core.Router(HORIZON_MS)
        self.workflows: dict[bytes, Workflow] = {}
        self.cursor = 0
        self.local: list[tuple[bytes, tuple]] = []
        self.inflight: dict[tuple[bytes, int], tuple] = {}
        self.undrained: list[tuple[bytes, tuple]] = []

    # What may happen, in any order

    def signal(self) -> None:
        """A client signals, now and then twice."""
        run_id = self.random.choice(self.run_ids)
        identity = b"s%d" % self.random.randrange(self.signals)
        self.store.send(run_id, encode_event(signal("go", identity)))

    def query(self) -> None:
        if self.random.choice(self.run_ids) in self.store.journals:
            query = (kinds.QUERY, 0, 0, "q", b"", b"")
            self.store.send(self.random.choice(self.run_ids), encode_event(query))

    def duplicate(self) -> None:
        """A message is sent again."""
        sent = [each for each in self.store.messages.values() if each[1][0] != kinds.START]
        if sent:
            self.store.send(*self.random.choice(sent))

    def tick(self) -> None:
        self.now_ms += self.random.randrange(20)

    def set_back(self) -> None:
        """The store's clock is set back."""
        self.now_ms -= self.random.randrange(60)

    def finish_local(self) -> None:
        """Work in this process ends."""
        if not self.inflight:
            return
        run_id, seq = self.random.choice(sorted(self.inflight))
        command = self.inflight.pop((run_id, seq))
        outcome = {
            kinds.ACTIVITY: kinds.ACTIVITY_COMPLETED,
            kinds.CHILD: kinds.CHILD_STARTED,
            kinds.SIGNAL_EXTERNAL: kinds.EXTERNAL_DONE,
        }[command[0]]
        self.local.append((run_id, (outcome, seq, 0, "", b"", b"out")))

    def finish_task(self) -> None:
        """A worker finishes a task; the store moves its result to the run's lane."""
        if self.store.tasks:
            run_id, seq = self.random.choice(sorted(self.store.tasks))
            del self.store.tasks[run_id, seq]
            done = (kinds.ACTIVITY_COMPLETED, seq, 0, "", b"", b"out")
            self.store.send(run_id, encode_event(done))

    def step(self) -> None:
        """The router's turn succeeds."""
        self._apply(self._drain())
        self._check_anchors()
        self.router.commit(*self._read())
        committed, self.undrained = self.undrained, []
        for run_id, command in committed:
            self._begin_local_work(run_id, command)
        self._advance()

    def lose_step(self) -> None:
        """The step is refused: nothing of it was applied."""
        self._drain()
        touched = self.router.rollback()
        self.trace.append(touched)
        for run_id in touched:
            self.workflows.pop(run_id, None)
        self.undrained = [each for each in self.undrained if each[0] not in touched]
        self.cursor = 0

    def copy_store(self) -> None:
        """A copy of the store is made, as a standby has one."""
        self.copy = deepcopy(self.store)

    def go_back(self) -> None:
        """The copy takes the store's place: what came after it is lost, its ids come again."""
        if self.random.random() < 0.5:
            self._drain()
        self.store = deepcopy(self.copy)
        self.router.start_over()
        self.trace.append(self.router.stats())
        self.workflows.clear()
        self.undrained.clear()
        self.cursor = 0

    def crash(self) -> None:
        """The process dies before its step arrives, or before it hears of it."""
        if self.random.random() < 0.5:
            self._apply(self._drain())
        self.reset()

    def evict(self) -> None:
        for run_id in self.run_ids:
            evicted = self.router.evict(run_id)
            self.trace.append(evicted)
            if evicted:
                self.workflows.pop(run_id, None)

    def settle(self) -> None:
        """Let everything happen that is still to come."""
        for run_id in self.run_ids:
            for number in range(self.signals):
                self.store.send(run_id, encode_event(signal("go", b"s%d" % number)))
        for _ in range(300):
            self.step()
            while self.inflight:
                self.finish_local()
            while self.store.tasks:
                self.finish_task()
            self.now_ms += 25
            busy = self.store.messages or self.local or self.router.has_ready()
            if not busy and len(self.store.closed) == len(self.run_ids):
                break

    # Within

    def _drain(self) -> dict[str, list]:
        columns = dict(zip(DRAINED_FIELDS, self.router.drain(), strict=True))
        self.trace.append(columns)
        return columns

    def _read(self) -> tuple[list[tuple], list[tuple]]:
        room = self.random.choice([1, 3, 100])
        rows = []
        for message_id in sorted(self.store.messages):
            if message_id > self.cursor and len(rows) < room:
                run_id, frame = self.store.messages[message_id]
                journaled = run_id in self.store.journals if frame[0] == kinds.START else None
                rows.append((message_id, LANE, run_id, frame, "w", "T", b"", b"", journaled))
                self.cursor = message_id
        due = self.now_ms + HORIZON_MS
        timers = [
            (LANE, at, run_id, key)
            for (run_id, key), at in sorted(self.store.timers.items())
            if at <= due
        ]
        return rows, timers

    def _advance(self) -> None:
        local, self.local = self.local, []
        result = self.router.ingest(local, self.now_ms)
        loads = result[1]
        self._take(result)
        for run_id in loads:
            self._load(run_id)
        if loads:
            self._take(self.router.ingest((), self.now_ms))
        self.trace.append((self.router.stats(), self.router.next_due()))

    def _take(self, result: Any) -> None:
        self.trace.append(result)
        activations, _, _, errors, expired = result
        assert errors == []
        for run_id, seq in expired:
            assert run_id not in self.store.closed, "a recall for a closed run"
            assert seq > 0
        for run_id, jobs, fresh in activations:
            if fresh >= 0:
                assert run_id not in self.workflows
                assert run_id not in self.store.journals
            self._activate(run_id, jobs)

    def _activate(self, run_id: bytes, jobs: list[tuple]) -> None:
        if self.random.random() < 0.1 and self._is_written(run_id):
            self.router.fail(run_id)
            self._load(run_id)
            return
        workflow = self.workflows.setdefault(run_id, Workflow(self.signals))
        commands = workflow.run(jobs, self.now_ms)
        queries = sum(job[0] == kinds.QUERY for job in jobs)
        if queries and self.random.random() < 0.3:
            self.router.defer_queries(run_id, self.random.randrange(queries + 1))
        self._complete(run_id, commands)

    def _is_written(self, run_id: bytes) -> bool:
        """Whether the store has every journal row of a run."""
        return all(owner != run_id for owner, _ in self.undrained)

    def _complete(self, run_id: bytes, commands: list[tuple]) -> None:
        self.router.complete(run_id, self.now_ms, commands)
        self.undrained += [(run_id, command) for command in commands]
        self.undrained.append((run_id, (kinds.TRACE, 0, 0, "", b"", b"")))

    def _load(self, run_id: bytes) -> None:
        frames = self.store.journals.get(run_id, [])
        inflight = {seq for owner, seq in self.inflight if owner == run_id}
        inflight |= {event[1] for owner, event in self.local if owner == run_id}
        closed = run_id in self.store.closed
        transitions, lost = self.router.load(run_id, LANE, frames, closed, inflight)
        self.trace.append((transitions, lost))
        workflow = self.workflows[run_id] = Workflow(self.signals)
        for now_ms, jobs, commands in transitions:
            issued = workflow.run(jobs, now_ms)
            assert self.core.match_commands(commands, issued) == -1
        redone = []
        for command in lost:
            if command[0] == kinds.ACTIVITY:
                frame = encode_event(command)
                redone.append((kinds.REDISPATCH, command[1], QUEUE, "", frame, b"lost"))
            else:
                self.inflight[run_id, command[1]] = command
        if redone:
            self._complete(run_id, redone)

    def _apply(self, columns: dict[str, list]) -> None:
        """The store's transaction: the columns, mail for those who wait, children that end."""
        self.store.apply(columns)
        for run_id, (kind, seq, _, name, _, _) in self.undrained:
            if kind == kinds.WAIT:
                prefix = encode_event_prefix((kinds.MAIL, seq, 0, name, b"", b""))
                self.store.send(run_id, prefix + b"\x03out")
            if kind == kinds.CHILD:
                child_done = (kinds.CHILD_COMPLETED, seq, 0, "", b"", b"out")
                self.store.send(run_id, encode_event(child_done))

    def _check_anchors(self) -> None:
        """A crash now loses nothing: somebody reads of each run that has local work."""
        findable = {run_id for run_id, _ in self.store.messages.values()}
        findable.update(run_id for run_id, _ in self.store.timers)
        for run_id, frames in self.store.journals.items():
            if run_id not in self.store.closed and run_id not in findable:
                ledger = self.core.Ledger()
                for _, jobs, commands in map(self.core.decode_transition, frames):
                    assert all(ledger.accept(job) for job in jobs)
                    for command in commands:
                        ledger.command(command)
                assert not ledger.local, "local work that nobody would find"

    def _begin_local_work(self, run_id: bytes, command: tuple) -> None:
        kind, seq, number = command[:3]
        is_request = kind in (kinds.CHILD, kinds.SIGNAL_EXTERNAL)
        if is_request or (kind == kinds.ACTIVITY and number == 0):
            self.inflight[run_id, seq] = command


OPERATIONS = (
    "signal",
    "query",
    "duplicate",
    "tick",
    "set_back",
    "finish_local",
    "finish_task",
    "step",
    "step",
    "step",
    "evict",
    "lose_step",
    "copy_store",
    "go_back",
    "crash",
)


def jobs_of(core: ModuleType, journal: list[bytes]) -> Counter[tuple[int, int, bytes]]:
    """What reached a run, by kind, sequence number and signal id.

    Whether a child was seen to start depends on what came first, its start or its end.
    """
    return Counter(
        (job[0], job[1], job[4] if job[0] == kinds.SIGNAL else b"")
        for frame in journal
        for job in core.decode_transition(frame)[1]
        if job[0] != kinds.CHILD_STARTED
    )
