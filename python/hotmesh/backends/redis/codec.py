"""Batches to script arguments, and script answers to rows.

A script takes a JSON header with every number of the batch, then byte strings column after column
in the order the script reads them. A message id is an integer for the router and "<number>-<kind>"
in the stream: the kind is part of the id, so an acknowledgement says by itself whether it was an
event, and whether its frame, a large one, lies apart.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from hotmesh import json_bytes
from hotmesh.backends.protocol import (
    LoadedRun,
    MailItem,
    MessageKind,
    MessageRow,
    RunRow,
    SendItem,
    SendOutcome,
    StartItem,
    StartOutcome,
    Step,
    TaskRow,
    Tasks,
    TimerRow,
)
from hotmesh.backends.record_json import record_json
from hotmesh.backends.shelf import Shelved, size_of
from hotmesh.core.rope import Rope
from hotmesh.limits import BATCH_BYTES_MAX

_logger = logging.getLogger(__name__)

Words = list[bytes | str | Rope]
"""Byte strings of a script call; text is sent as UTF-8."""

EMPTY_HEADER = b"{}"
REPLY_TTL_S = 600
"""How long a reply waits for a client that may be gone."""
RUN_ID_BYTES = 16

_LARGE = 4
"""Added to the kind of a large message."""
_KINDS = 8
"""Message ids are number * 8 + kind (of those that are stored)."""
_ZERO = ord("0")
_ATTRIBUTE = b"a:"


def header(numbers: Mapping[str, Any]) -> bytes:
    """The JSON header of a call."""
    return json_bytes.dumps(numbers)


def add_starts(items: Sequence[StartItem], words: Words) -> list[tuple[int, ...]]:
    """Append the bytes of starts to `words`; their numbers."""
    numbers: list[tuple[int, ...]] = []
    for item in items:
        attributes, events = item.attributes, item.events
        numbers.append(
            (
                item.lane,
                item.reuse,
                item.conflict,
                item.delay_ms,
                item.expire_s,
                len(attributes),
                len(events),
                item.over is not None,
                item.again_ms,
            )
        )
        words += (
            item.run_id,
            item.workflow_id,
            item.workflow_type,
            item.header,
            item.input,
            item.frame,
        )
        for pair in attributes:
            words += pair
        words += events
        if item.over is not None:
            words.append(item.over)
    return numbers


def add_sends(items: Sequence[SendItem], words: Words) -> list[tuple[int, int, int]]:
    """Append the bytes of sends to `words`; their numbers."""
    for item in items:
        words += (item.workflow_id, item.run_id, item.frame)
    return [(int(item.kind), int(item.allow_closed), item.again_ms) for item in items]


def add_mails(items: Sequence[MailItem], words: Words) -> int:
    """Append the bytes of mails to `words`; how many."""
    for item in items:
        words += (item.key, item.data)
    return len(items)


def stream_id(message_id: int) -> str:
    """A message's id in its stream."""
    return f"{message_id // _KINDS}-{message_id % _KINDS}"


def step_words(step: Step, reading: Mapping[str, Any]) -> Words:
    """The arguments of step.lua. Keep in the order the script takes them.

    Args:
        step: The batch; all of it in the router's own namespace.
        reading: Header fields that say what to read.
    """
    words: Words = [b"", step.router_id]
    for column in (
        step.journal_run,
        step.journal_frame,
        step.timer_run,
        step.drop_timer_run,
        step.task_run,
        step.task_type,
        step.task_frame,
        step.task_state,
        step.outside_run,
        step.drop_task_run,
        step.recall_task_run,
        step.recall_task_frame,
        step.attribute_run,
        step.attribute_name,
        step.attribute_value,
        step.move_run,
        step.close_run,
        step.close_result,
    ):
        words += column
    starts = add_starts(step.starts, words)
    words += step.message_run
    words += step.message_frame
    sends = add_sends(step.sends, words)
    for wait in step.waits:
        words += (wait.key, wait.run_id, wait.frame)
    mails = add_mails(step.mails, words)
    for reply_id, data in zip(step.reply_id, step.reply_data, strict=True):
        words += (reply_id, data)
    acks, event_acks, large_acks = _acks(step)
    words[0] = header(
        {
            **({} if step.latest_ms is None else {"steady": step.latest_ms}),
            "journal_seq": step.journal_seq,
            "acks": acks,
            "event_acks": event_acks,
            "large_acks": large_acks,
            "timer_lane": step.timer_lane,
            "timer_due": _texts(step.timer_due),
            "timer_key": _texts(step.timer_key),
            "drop_timer_lane": step.drop_timer_lane,
            "drop_timer_due": _texts(step.drop_timer_due),
            "drop_timer_key": _texts(step.drop_timer_key),
            "task_queue": step.task_queue,
            "task_lane": step.task_lane,
            "task_seq": step.task_seq,
            "task_attempt": step.task_attempt,
            "task_delay": step.task_delay,
            "outside_seq": step.outside_seq,
            "drop_task_seq": step.drop_task_seq,
            "recall_seq": step.recall_task_seq,
            "recall_claimed": step.recall_task_claimed,
            "attributes": len(step.attribute_run),
            "move_from": step.move_from,
            "move_to": step.move_to,
            "close_status": step.close_status,
            "close_waits": step.close_waits,
            "starts": starts,
            "message_lane": step.message_lane,
            "message_kind": step.message_kind,
            "sends": sends,
            "waits": [wait.lane for wait in step.waits],
            "mails": mails,
            "replies": len(step.reply_id),
            "reply_ttl": REPLY_TTL_S,
            **reading,
        }
    )
    return words


def tasks_words(batch: Tasks) -> Words:
    """The arguments of tasks.lua."""
    words: Words = [
        header(
            {
                "queue": batch.queue_id,
                "lease": batch.lease_ms,
                **({} if batch.latest_ms is None else {"steady": batch.latest_ms}),
                "room": batch.room,
                "types": -1 if batch.types is None else len(batch.types),
                "bytes": BATCH_BYTES_MAX,
                "finish_seq": batch.finish_seq,
                "finish_attempt": batch.finish_attempt,
                "retry_seq": batch.retry_seq,
                "retry_attempt": batch.retry_attempt,
                "retry_delay": batch.retry_delay,
                "beat_seq": batch.beat_seq,
                "beat_attempt": batch.beat_attempt,
                "beat_lease": batch.beat_lease,
                "beat_has_state": [state is not None for state in batch.beat_state],
                "beat_outside": batch.beat_outside,
            }
        ),
        batch.router_id,
        *(batch.types or ()),
    ]
    for column in (
        batch.finish_run,
        batch.finish_frame,
        batch.retry_run,
        batch.retry_state,
        batch.beat_run,
    ):
        words += column
    words += [state for state in batch.beat_state if state is not None]
    return words


def message_rows(flat: Sequence[Any], started: Sequence[Any]) -> list[MessageRow]:
    """Messages as step.lua answers them: flat, the columns of started runs apart.

    A large one that was not read has its size in the place of its frame.
    """
    rows: list[MessageRow] = []
    next_started = iter(started)
    values = iter(flat)
    for lane, raw_id, run_id, frame in zip(values, values, values, values, strict=True):
        kind = raw_id[-1] - _ZERO
        message_id = int(raw_id[:-2]) * _KINDS + kind
        if kind % _LARGE != MessageKind.START or frame.__class__ is int:
            rows.append(MessageRow(message_id, lane, run_id, frame, None, None, None, None, None))
            continue
        workflow_id, workflow_type, run_header, run_input, journaled = next(next_started)
        rows.append(
            MessageRow(
                message_id,
                lane,
                run_id,
                frame,
                None if workflow_id is None else _text(workflow_id),
                None if workflow_type is None else _text(workflow_type),
                run_header,
                run_input,
                bool(journaled),
            )
        )
    return rows


def messages_words(wanted: Sequence[Shelved]) -> Words:
    """The arguments of messages.lua: messages that were not read yet."""
    lanes, ids = [each.lane for each in wanted], [stream_id(each.id) for each in wanted]
    return [header({"lanes": lanes, "ids": ids})]


def bytes_read(rows: Sequence[Sequence[Any]]) -> int:
    """What messages count for, as step.lua counts it."""
    return sum(size_of(row) for row in rows if row[3].__class__ is not int)


def journal_words(run_id: bytes, start: int) -> Words:
    """The arguments of journal.lua: a page of a journal from a seq on."""
    return [header({"from": start, "bytes": BATCH_BYTES_MAX}), run_id]


def message_number(message_id: int) -> int:
    """A message's number in its namespace; what a read continues from."""
    return message_id // _KINDS


def timer_rows(lane: int, members: Sequence[bytes]) -> list[TimerRow]:
    """Timers from their members in the lane's zset; one that can't be read is left out."""
    rows: list[TimerRow] = []
    for member in members:
        try:
            due, key = member[RUN_ID_BYTES:].split(b":")
            rows.append(TimerRow(lane, int(due), member[:RUN_ID_BYTES], int(key)))
        except ValueError as error:
            _logger.error("timer %r of lane %d is damaged and is left out: %s", member, lane, error)
    return rows


def start_outcomes(answers: Sequence[Any]) -> list[StartOutcome]:
    """Outcomes of starts."""
    return [StartOutcome(started == 1, run_id, status) for started, run_id, status in answers]


def send_outcomes(answers: Sequence[Any]) -> list[SendOutcome]:
    """Outcomes of sends."""
    return [SendOutcome(sent == 1, run_id, status, lane) for sent, run_id, status, lane in answers]


def task_rows(answers: Sequence[Any]) -> list[TaskRow]:
    """Claimed tasks."""
    return [
        TaskRow(run_id, seq, lane, attempt, lost == 1, frame, state, scheduled_ms)
        for run_id, seq, lane, attempt, lost, frame, state, scheduled_ms in answers
    ]


def run_row(
    namespace: str, task_queue: str, run_id: bytes, flat: Sequence[bytes], transitions: int
) -> RunRow:
    """A run from its hash."""
    columns = _columns(flat)
    return RunRow(
        run_id=run_id,
        namespace=namespace,
        workflow_id=_text(columns.get(b"w", b"")),
        workflow_type=_text(columns.get(b"t", b"")),
        lane=_number(columns, b"l"),
        task_queue=task_queue,
        status=_number(columns, b"s"),
        header=columns.get(b"h", b""),
        input=columns.get(b"i", b""),
        result=columns.get(b"o", b""),
        attributes=_attributes(columns),
        started_ms=_number(columns, b"b"),
        closed_ms=_number(columns, b"e"),
        transitions=transitions,
    )


def run_lane(flat: Sequence[bytes]) -> int:
    """The lane in a run's hash."""
    return _number(_columns(flat), b"l")


def loaded_run(run_id: bytes, flat: Sequence[bytes], frames: Sequence[bytes]) -> LoadedRun:
    """A run with its journal."""
    columns = _columns(flat)
    return LoadedRun(
        run_id=run_id,
        lane=_number(columns, b"l"),
        status=_number(columns, b"s"),
        workflow_id=_text(columns.get(b"w", b"")),
        workflow_type=_text(columns.get(b"t", b"")),
        header=columns.get(b"h", b""),
        input=columns.get(b"i", b""),
        frames=frames,
        attributes=_attributes(columns),
        next_seq=len(frames),
    )


def _acks(step: Step) -> tuple[dict[str, list[str]], list[tuple[int, str]], list[str]]:
    """Stream ids by lane; those of events again, with their lanes; the numbers of large ones."""
    by_lane: dict[int, list[str]] = {}
    event_acks: list[tuple[int, str]] = []
    large_acks: list[str] = []
    for lane, message_id in zip(step.ack_lane, step.ack_id, strict=True):
        raw_id = stream_id(message_id)
        by_lane.setdefault(lane, []).append(raw_id)
        kind = message_id % _KINDS
        if kind >= _LARGE:
            large_acks.append(str(message_number(message_id)))
            kind -= _LARGE
        if kind == MessageKind.EVENT:
            event_acks.append((lane, raw_id))
    return {str(lane): raw_ids for lane, raw_ids in by_lane.items()}, event_acks, large_acks


def _texts(numbers: Sequence[int]) -> list[str]:
    """As text: Lua's numbers lose digits beyond 2**53 and print them in exponents before."""
    return [str(number) for number in numbers]


def _text(value: bytes) -> str:
    """As it was written, or with signs in place of what is damaged."""
    return value.decode("utf-8", "replace")


def _number(columns: Mapping[bytes, bytes], name: bytes) -> int:
    """A whole number; 0 if it is missing or damaged, which no sound run has in its place."""
    try:
        return int(columns.get(name, b"0"))
    except ValueError:
        return 0


def _columns(flat: Sequence[bytes]) -> dict[bytes, bytes]:
    return dict(zip(flat[::2], flat[1::2], strict=True))


def _attributes(columns: Mapping[bytes, bytes]) -> bytes:
    """One JSON object of the run's record, names in order."""
    return record_json(
        (_text(name[len(_ATTRIBUTE) :]), columns[name])
        for name in sorted(columns)
        if name.startswith(_ATTRIBUTE)
    )
