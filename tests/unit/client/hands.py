"""A worker's hands without a worker: reads a queue's messages and answers them as told."""

import asyncio
from collections.abc import Sequence
from typing import Any

from hotmesh.backends.protocol import Registration, RunStatus, Session, Step
from hotmesh.client import Client
from hotmesh.converter import DataConverter, decode_values, encode_failure, encode_values
from hotmesh.core import decode_event, encode_transition, kinds
from hotmesh.engine import wire

NAMESPACE = "default"
QUEUE = "queue"


def values(*items: Any) -> bytes:
    return encode_values(DataConverter.default, items, "values")


def failure(error: BaseException) -> bytes:
    return encode_failure(DataConverter.default, error)


class Message:
    """A message as read, taken apart."""

    def __init__(self, row: Sequence[Any]) -> None:
        self.id, self.lane, self.run_id, frame = row[:4]
        self.run_id = bytes(self.run_id)
        self.header, self.input = row[6], row[7]
        self.kind, self.seq, self.number, self.name, self.meta, self.body = decode_event(frame)
        self.document, self.values_body = wire.split_document(self.body)

    @property
    def args(self) -> list[Any]:
        return decode_values(DataConverter.default, self.values_body)


class Hands:
    """A router of one queue, moved by the test."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.backend = client.backend
        self.router_id = b"hands".ljust(16, b"-")
        self.session: Session | None = None
        self.lanes: Sequence[int] = ()
        self._woken = asyncio.Event()
        self._read: list[Message] = []

    async def join(self) -> None:
        queue_id = await self.backend.queue_id(NAMESPACE, QUEUE)
        await self.backend.listen(f"lanes:{queue_id}", self._wake)
        beat = await self.backend.beat(
            Registration(self.router_id, NAMESPACE, queue_id, True, 60_000, b"{}")
        )
        self.lanes = beat.lanes
        self.session = await self.backend.session(NAMESPACE, self.router_id, 5_000)

    async def leave(self) -> None:
        if self.session is not None:
            await self.session.close()

    def _wake(self, _: str | None) -> None:
        self._woken.set()

    async def next(self) -> Message:
        """The next message; waits for the client's hint if there is none yet."""
        assert self.session is not None
        while not self._read:
            self._woken.clear()
            reply = await self.session.step(Step(self.router_id, lanes=self.lanes, room=100))
            self._read = [Message(row) for row in reply.messages]
            if not self._read:
                async with asyncio.timeout(5):
                    await self._woken.wait()
        return self._read.pop(0)

    async def settle(
        self,
        *messages: Message,
        status: int = 0,
        result: bytes = b"",
        reply: tuple[bytes, bytes] | None = None,
        journal: tuple[int, bytes] | None = None,
        hint: bool = True,
    ) -> None:
        """Acknowledge messages; close their run if a status is given; reply; write its journal."""
        assert self.session is not None
        step = Step(self.router_id)
        run_id = messages[0].run_id
        for message in messages:
            step.ack_lane.append(message.lane)
            step.ack_id.append(message.id)
        if journal is not None:
            step.journal_run.append(run_id)
            step.journal_seq.append(journal[0])
            step.journal_frame.append(journal[1])
        if status:
            step.close_run.append(run_id)
            step.close_lane.append(messages[0].lane)
            step.close_status.append(status)
            step.close_result.append(result)
            step.close_waits.append(False)
        if reply is not None:
            step.reply_id.append(reply[0])
            step.reply_data.append(reply[1])
        done = await self.session.step(step)
        assert not done.fenced
        assert not done.refused
        if hint:
            await self.backend.notify([(f"done:{NAMESPACE}", "")])

    async def complete(self, message: Message, value: Any) -> None:
        await self.settle(message, status=RunStatus.COMPLETED, result=values(value))


def transition(*commands: tuple[int, int, int, str, bytes, bytes]) -> bytes:
    return encode_transition(1_000, [(kinds.START, 0, 0, "", b"", b"")], list(commands))
