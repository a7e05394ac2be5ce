"""What a run's commands ask of the store and of this process.

The core journals commands and keeps timers and tasks; this module fills the rest of the step:
children, signals to others, attributes, mail, replies, the message to a parent. It also collects
what may happen only after the commit: activities started here, events, spans, hints.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import orjson

from hotmesh import json_bytes
from hotmesh.backends.protocol import (
    ConflictPolicy,
    HeldTask,
    MailItem,
    MessageKind,
    ReusePolicy,
    SendItem,
    StartItem,
    Step,
    WaitItem,
    new_list,
)
from hotmesh.converter import DataConverter, encode_failure
from hotmesh.core import Event, encode_event, encode_event_prefix, kinds, lane_of
from hotmesh.core.kinds import NAMING_A_QUEUE
from hotmesh.engine import wire
from hotmesh.engine.activity_options import read_options
from hotmesh.engine.activity_task import ActivityTask
from hotmesh.engine.attributes import MEMO_PREFIX, record_of
from hotmesh.engine.details import RunDetails
from hotmesh.exceptions import CancelledError
from hotmesh.router.state import RunState

START_FRAME = encode_event((kinds.START, 0, 0, "", b"", b""))


class Owner(NamedTuple):
    """Whose command an outcome of the step answers."""

    kind: int
    run_id: bytes
    seq: int


class Publication(NamedTuple):
    """Events or a span of a run, to leave once committed."""

    kind: int
    state: RunState
    body: bytes
    now_ms: int


@dataclass(slots=True)
class Effects:
    """One batch's effects besides the core's columns."""

    starts: list[StartItem] = field(default_factory=new_list)
    start_owners: list[Owner | None] = field(default_factory=new_list)
    sends: list[SendItem] = field(default_factory=new_list)
    send_owners: list[Owner | None] = field(default_factory=new_list)
    waits: list[WaitItem] = field(default_factory=new_list)
    mails: list[MailItem] = field(default_factory=new_list)
    replies: list[tuple[bytes, bytes]] = field(default_factory=new_list)
    messages: list[tuple[int, bytes, int, bytes]] = field(default_factory=new_list)
    attributes: list[tuple[bytes, str, bytes]] = field(default_factory=new_list)
    timers: list[tuple[int, int, bytes, int]] = field(default_factory=new_list)
    drop_timers: list[tuple[int, int, bytes, int]] = field(default_factory=new_list)
    recalls: list[tuple[bytes, int, bytes, bool]] = field(default_factory=new_list)
    moves: list[tuple[bytes, int, int]] = field(default_factory=new_list)
    """Runs that go from one lane to another."""
    ended: list[tuple[ActivityTask, Event]] = field(default_factory=new_list)
    """First attempts of this process whose outcomes are recorded: should the router stand down
    before the commit, they are told another way."""
    # After the commit
    placed: list[ActivityTask] = field(default_factory=new_list)
    """Activities that start here."""
    cancelled: list[tuple[bytes, int]] = field(default_factory=new_list)
    published: list[Publication] = field(default_factory=new_list)
    closed: list[bytes] = field(default_factory=new_list)
    task_queues: set[int] = field(default_factory=set[int])
    """Queues that got activity tasks or recalls."""
    spans: list[tuple[bytes, tuple[int, ...]]] = field(default_factory=new_list)
    """Whose the following entries are, and how full the lists were before."""
    _lists: tuple[list[Any], ...] = ()

    def __post_init__(self) -> None:
        self._lists = (
            self.placed,
            self.starts,
            self.start_owners,
            self.sends,
            self.send_owners,
            self.waits,
            self.mails,
            self.replies,
            self.messages,
            self.attributes,
            self.timers,
            self.drop_timers,
            self.recalls,
            self.cancelled,
            self.published,
            self.closed,
            self.spans,
        )

    def fill(self, step: Step) -> None:
        """Write the store's part into a step."""
        step.starts = self.starts
        step.sends = self.sends
        step.waits = self.waits
        step.mails = self.mails
        for reply_id, data in self.replies:
            step.reply_id.append(reply_id)
            step.reply_data.append(data)
        for lane, run_id, kind, frame in self.messages:
            step.message_lane.append(lane)
            step.message_run.append(run_id)
            step.message_kind.append(kind)
            step.message_frame.append(frame)
        for run_id, name, value in self.attributes:
            step.attribute_run.append(run_id)
            step.attribute_name.append(name)
            step.attribute_value.append(value)
        for lane, due, run_id, key in self.timers:
            step.timer_lane.append(lane)
            step.timer_due.append(due)
            step.timer_run.append(run_id)
            step.timer_key.append(key)
        for lane, due, run_id, key in self.drop_timers:
            step.drop_timer_lane.append(lane)
            step.drop_timer_due.append(due)
            step.drop_timer_run.append(run_id)
            step.drop_timer_key.append(key)
        for run_id, seq, frame, claimed in self.recalls:
            step.recall_task_run.append(run_id)
            step.recall_task_seq.append(seq)
            step.recall_task_frame.append(frame)
            step.recall_task_claimed.append(claimed)
        for run_id, lane, target in self.moves:
            step.move_run.append(run_id)
            step.move_from.append(lane)
            step.move_to.append(target)

    def begin(self, run_id: bytes) -> tuple[int, ...]:
        """What is added from now on is a run's; how full the lists are, for :meth:`take_back`."""
        mark = tuple(map(len, self._lists))
        self.spans.append((run_id, mark))
        return mark

    def owner_of(self, name: str, at: int) -> bytes:
        """Whose an entry of a list is: b"" for nobody's."""
        items = getattr(self, name)
        place = next(i for i, each in enumerate(self._lists) if each is items)
        owner = b""
        for run_id, mark in self.spans:
            if mark[place] > at:
                break
            owner = run_id
        return owner

    def take_back(self, mark: tuple[int, ...]) -> None:
        """Forget what was added since: the transition was not recorded after all."""
        for items, length in zip(self._lists, mark, strict=True):
            del items[length:]

    def placed_since(self, mark: tuple[int, ...]) -> list[ActivityTask]:
        """The activities placed since."""
        return self.placed[mark[0] :]

    def __bool__(self) -> bool:
        return bool(
            self.starts
            or self.sends
            or self.waits
            or self.mails
            or self.replies
            or self.messages
            or self.attributes
            or self.timers
            or self.drop_timers
            or self.recalls
            or self.moves
        )


def dedupe_id(run_id: bytes, seq: int) -> bytes:
    """Names a message by the command that sends it: sent twice, it is handled once."""
    return run_id + seq.to_bytes(4, "big")


def child_send(
    state: RunState, document: dict[str, Any], message_kind: MessageKind, frame: bytes
) -> SendItem:
    """What a run sends to a child of its own.

    It goes to the newest run under the child's id. But as long as it is not known that the child
    was started, that id may be a stranger's: then it goes to the run that was to be the child's
    first, or to nobody.
    """
    run_id = b"" if "started" in document else bytes.fromhex(document["rid"])
    return SendItem(
        state.details.namespace, document["id"], run_id, message_kind, frame, allow_closed=False
    )


def mail_data(body: bytes) -> bytes:
    """A body with its length in front, as it completes a waiter's frame."""
    size, head = len(body), bytearray()
    while size > 0x7F:
        head.append(size & 0x7F | 0x80)
        size >>= 7
    head.append(size)
    return bytes(head) + body


def first_attempt(
    details: RunDetails, command: Event, options: dict[str, Any], scheduled_ms: int
) -> ActivityTask:
    """An activity's first attempt, to be made in this process; it begins after the commit."""
    _, seq, _, name, _, body = command
    return ActivityTask(
        details.run_id, seq, details.lane, name, options, body, scheduled_ms, details, True
    )


class CommandTranslator:
    """Turns one run's commands into effects.

    Args:
        namespace: Of the router.
        queue_ids: Known task queues; a name that is missing must be resolved before.
        place: Says whether an activity starts here (its command, the run's lane): its options if
            so, else None.
        inflight: The activities, (run id, seq), whose first attempt is made in this process.
    """

    def __init__(
        self,
        namespace: str,
        queue_ids: dict[str, int],
        place: Callable[[Event, int], dict[str, Any] | None],
        inflight: Container[tuple[bytes, int]],
    ) -> None:
        self._namespace = namespace
        self._queue_ids = queue_ids
        self._place = place
        self._inflight = inflight

    def missing_queues(self, commands: Sequence[Event]) -> list[str]:
        """Task queues that these commands name and whose id isn't known yet."""
        missing: list[str] = []
        for command in commands:
            # Not `in`: bytes ask first whether they are given a number, at the price of an error.
            if command[0] in NAMING_A_QUEUE and command[4].find(b'"q":') >= 0:
                name = orjson.loads(command[4]).get("q")
                if name is not None and name not in self._queue_ids:
                    missing.append(name)
        return missing

    def translate(
        self, state: RunState, now_ms: int, commands: Sequence[Event], effects: Effects
    ) -> list[Event]:
        """Collect the effects of a transition's commands.

        Returns:
            The commands as they are to be journaled (activities say where they run).
        """
        out: list[Event] = []
        for command in commands:
            kind = command[0]
            if kind == kinds.ACTIVITY:
                out.append(self._activity(state, now_ms, command, effects))
                continue
            out.append(command)
            handler = _HANDLERS.get(kind)
            if handler is not None:
                handler(self, state, now_ms, command, effects)
        return out

    # Activities

    def _activity(self, state: RunState, now_ms: int, command: Event, effects: Effects) -> Event:
        details = state.details
        options = self._place(command, details.lane)
        if options is not None:
            effects.placed.append(first_attempt(details, command, options, now_ms))
            return command
        kind, seq, _, name, meta, body = command
        options = read_options(meta)
        queue_id = self._queue_ids[options.get("q", details.task_queue)]
        effects.task_queues.add(queue_id)
        return (kind, seq, queue_id, name, task_meta(options, state), body)

    def _cancel_activity(
        self, state: RunState, now_ms: int, command: Event, effects: Effects
    ) -> None:
        del now_ms
        run_id, seq = state.details.run_id, command[1]
        if (run_id, seq) in self._inflight or any(
            placed.run_id == run_id and placed.seq == seq for placed in effects.placed
        ):
            effects.cancelled.append((run_id, seq))
            return
        effects.recalls.append((run_id, seq, cancelled_frame(seq), True))

    # Children and others

    def _child(self, state: RunState, now_ms: int, command: Event, effects: Effects) -> None:
        del now_ms
        state.add_child(command)
        effects.starts.append(self.child_start(state, command))
        effects.start_owners.append(Owner(kinds.CHILD, state.details.run_id, command[1]))

    def child_start(self, state: RunState, command: Event) -> StartItem:
        """The start of a child; the same command always makes the same one."""
        _, seq, _, name, meta, body = command
        document = orjson.loads(meta)
        details = state.details
        header: dict[str, Any] = document.get("header", {})
        header["parent"] = {
            "ns": details.namespace,
            "wid": details.workflow_id,
            "rid": details.run_id.hex(),
            "seq": seq,
            "lane": details.lane,
        }
        header["root"] = details.header.get("root") or {
            "wid": details.workflow_id,
            "rid": details.run_id.hex(),
        }
        if document.get("record"):
            header["record"] = details.header.get("record") or details.run_id.hex()
            header["record_id"] = details.header.get("record_id") or details.workflow_id
        task_queue = document.get("q", details.task_queue)
        header["reuse"] = document["reuse"]
        return start_item(
            details.namespace,
            document["id"],
            bytes.fromhex(document["rid"]),
            name,
            lane_of(self._queue_ids[task_queue], document["id"]),
            header,
            body,
            reuse=document["reuse"],
            expire=document.get("expire", -1),
        )

    def _cancel_child(self, state: RunState, now_ms: int, command: Event, effects: Effects) -> None:
        del now_ms
        document = state.children.get(command[1])
        if document is None:
            return  # it has ended, or never was: its id may be somebody else's
        run_id = state.details.run_id
        frame = encode_event(
            (kinds.CANCEL, 0, 0, "", dedupe_id(run_id, command[1]), b"parent requested")
        )
        effects.sends.append(child_send(state, document, MessageKind.EVENT, frame))
        effects.send_owners.append(None)

    def _external(self, state: RunState, now_ms: int, command: Event, effects: Effects) -> None:
        del now_ms
        effects.sends.append(self.external_send(state, command))
        effects.send_owners.append(Owner(command[0], state.details.run_id, command[1]))

    def external_send(self, state: RunState, command: Event, again_ms: int = 0) -> SendItem:
        """What a command sends to another run; the same command always makes the same frame.

        Args:
            state: The run whose command it is.
            command: The command.
            again_ms: See :attr:`SendItem.again_ms`.
        """
        kind, seq, _, name, meta, body = command
        target = orjson.loads(meta)
        run_id = state.details.run_id
        event = (
            (kinds.SIGNAL, 0, 0, name, dedupe_id(run_id, seq), body)
            if kind == kinds.SIGNAL_EXTERNAL
            else (kinds.CANCEL, 0, 0, "", dedupe_id(run_id, seq), body)
        )
        return SendItem(
            target["ns"],
            target["wid"],
            wire.run_id_bytes(target.get("rid", "")),
            MessageKind.EVENT,
            encode_event(event),
            False,
            again_ms,
        )

    # The record

    def _upsert(self, state: RunState, now_ms: int, command: Event, effects: Effects) -> None:
        del now_ms
        run_id = state.details.run_id
        for name, value in orjson.loads(command[5]).items():
            if command[3] == "memo":
                # Removal is written as null, not deleted: it must hide the memo of the start.
                effects.attributes.append((run_id, MEMO_PREFIX + name, json_bytes.dumps(value)))
            else:
                text = b"" if value is None else json_bytes.dumps(value[1])
                effects.attributes.append((run_id, name, text))

    def _enrich(self, state: RunState, now_ms: int, command: Event, effects: Effects) -> None:
        del now_ms
        record = state.details.header.get("record")
        run_id = bytes.fromhex(record) if record else state.details.run_id
        for name, value in orjson.loads(command[5]).items():
            effects.attributes.append((run_id, name, json_bytes.dumps(value)))

    def _publish(self, state: RunState, now_ms: int, command: Event, effects: Effects) -> None:
        effects.published.append(Publication(command[0], state, command[5], now_ms))

    # Mail

    def _wait(self, state: RunState, now_ms: int, command: Event, effects: Effects) -> None:
        del now_ms
        details = state.details
        frame = encode_event_prefix((kinds.MAIL, command[1], 0, "", b"", b""))
        effects.waits.append(
            WaitItem(details.namespace, command[3], details.lane, details.run_id, frame)
        )

    def _send_mail(self, state: RunState, now_ms: int, command: Event, effects: Effects) -> None:
        del now_ms
        effects.mails.append(MailItem(state.details.namespace, command[3], mail_data(command[5])))


_Handler = Callable[[CommandTranslator, RunState, int, Event, Effects], None]

_HANDLERS: dict[int, _Handler] = {
    kinds.CANCEL_ACTIVITY: CommandTranslator._cancel_activity,  # pyright: ignore[reportPrivateUsage]
    kinds.CHILD: CommandTranslator._child,  # pyright: ignore[reportPrivateUsage]
    kinds.CANCEL_CHILD: CommandTranslator._cancel_child,  # pyright: ignore[reportPrivateUsage]
    kinds.SIGNAL_EXTERNAL: CommandTranslator._external,  # pyright: ignore[reportPrivateUsage]
    kinds.CANCEL_EXTERNAL: CommandTranslator._external,  # pyright: ignore[reportPrivateUsage]
    kinds.UPSERT: CommandTranslator._upsert,  # pyright: ignore[reportPrivateUsage]
    kinds.ENRICH: CommandTranslator._enrich,  # pyright: ignore[reportPrivateUsage]
    kinds.EMIT: CommandTranslator._publish,  # pyright: ignore[reportPrivateUsage]
    kinds.TRACE: CommandTranslator._publish,  # pyright: ignore[reportPrivateUsage]
    kinds.WAIT: CommandTranslator._wait,  # pyright: ignore[reportPrivateUsage]
    kinds.SEND_MAIL: CommandTranslator._send_mail,  # pyright: ignore[reportPrivateUsage]
}

CANCELLED_FAILURE = encode_failure(DataConverter.default, CancelledError("Cancelled"))
"""What a cancelled activity leaves that never ran."""


def cancelled_frame(seq: int) -> bytes:
    """What comes back for an activity that was cancelled before anybody claimed it."""
    return encode_event((kinds.ACTIVITY_CANCELED, seq, 0, "", b"", CANCELLED_FAILURE))


def task_meta(options: dict[str, Any], state: RunState) -> bytes:
    """An activity's options as a task in the queue carries them."""
    return json_bytes.dumps(
        {**options, "w": [state.details.workflow_id, state.details.workflow_type]}
    )


def held_task(task: ActivityTask, queue_id: int, transition: int) -> HeldTask:
    """The task that a first attempt becomes whose router can't go on."""
    origin, options = task.origin, task.options
    meta = json_bytes.dumps({**options, "w": [origin.workflow_id, origin.workflow_type]})
    frame = encode_event((kinds.ACTIVITY, task.seq, queue_id, task.name, meta, task.body))
    attempt = task.attempt if task.started_ms else 0
    return HeldTask(
        queue_id, task.name, task.lane, task.run_id, task.seq, attempt, frame, transition
    )


def start_item(
    namespace: str,
    workflow_id: str,
    run_id: bytes,
    workflow_type: str,
    lane: int,
    header: dict[str, Any],
    body: bytes,
    *,
    reuse: int = ReusePolicy.ALLOW_DUPLICATE,
    delay_ms: int = 0,
    expire: int = -1,
) -> StartItem:
    """A start that a router makes for a run it owns."""
    if expire >= 0:
        header["expire"] = expire
    return StartItem(
        namespace,
        workflow_id,
        run_id,
        workflow_type,
        lane,
        reuse,
        ConflictPolicy.FAIL,
        delay_ms,
        expire,
        wire.dump(header),
        body,
        START_FRAME,
        record_of(header.get("sa", {})),
        (),
    )
