"""Events and spans, after the commit that says so."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Any, Protocol

import orjson

from hotmesh import json_bytes, telemetry
from hotmesh.core import kinds
from hotmesh.engine import wire
from hotmesh.exceptions import HotMeshError
from hotmesh.interrupts import is_from_outside
from hotmesh.printing import told
from hotmesh.router.effects import Publication

logger = logging.getLogger(__name__)

CLOSE_SECONDS = 1.0
"""How long a router that goes waits for its last events to be published."""


class Bus(Protocol):
    """Where events go."""

    async def publish(self, events: Sequence[tuple[str, bytes]]) -> None:
        """Publish (topic, JSON) pairs."""
        ...


class Publisher:
    """Publishes in the order of commits; a failing bus is logged and never stops a router."""

    def __init__(self, bus: Bus | None) -> None:
        self._bus = bus
        self._events: list[tuple[str, bytes]] = []
        self._task: asyncio.Task[None] | None = None

    def publish(self, publications: Sequence[Publication]) -> None:
        """Take what a committed batch wants published."""
        for publication in publications:
            try:
                self._take(publication)
            except BaseException as error:  # an exporter may raise anything
                if is_from_outside(error):
                    raise
                run = wire.run_id_text(publication.state.details.run_id)
                logger.error("events or a span of run %s are lost: %s", run, told(error))
        if self._events and self._bus is not None and self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._send(self._bus))

    def _take(self, publication: Publication) -> None:
        document: dict[str, Any] = orjson.loads(publication.body)
        if publication.kind == kinds.EMIT:
            self._events += [(topic, json_bytes.dumps(data)) for topic, data in document.items()]
        else:
            self._record_span(publication, document)

    def _record_span(self, publication: Publication, attributes: dict[str, Any]) -> None:
        details = publication.state.details
        telemetry.record_span(
            telemetry.SPAN_NAME,
            attributes,
            publication.now_ms,
            {
                "namespace": details.namespace,
                "workflow_id": details.workflow_id,
                "run_id": wire.run_id_text(details.run_id),
                "workflow_type": details.workflow_type,
            },
        )

    async def _send(self, bus: Bus) -> None:
        try:
            while self._events:
                events, self._events = self._events, []
                try:
                    await bus.publish(events)
                except HotMeshError as error:
                    logger.error("%d events could not be published: %s", len(events), error)
        finally:
            self._task = None

    async def close(self) -> None:
        """Publish what is left, unless that takes long."""
        task = self._task
        if task is None:
            return
        _, late = await asyncio.wait([task], timeout=CLOSE_SECONDS)
        if late:
            logger.error("the event bus does not answer: the last events were not published")
            task.cancel()
            await asyncio.wait([task], timeout=CLOSE_SECONDS)
