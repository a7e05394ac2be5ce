"""A logger that is silent during replay."""

from __future__ import annotations

import logging
from collections.abc import Mapping, MutableMapping
from typing import Any

from hotmesh.engine.context import maybe_current
from hotmesh.engine.handlers import current_update


class LoggerAdapter(logging.LoggerAdapter[logging.Logger]):
    """Adds the run's ids to each record and drops records that a replay repeats.

    Attributes:
        workflow_info_on_message: Append the ids to the message.
        workflow_info_on_extra: Put them into the record as ``temporal_workflow`` and as separate
            fields.
        full_workflow_info_on_extra: Put the whole info into the record.
        log_during_replay: Log replayed records too.
        disable_sandbox: Accepted for compatibility.
    """

    def __init__(self, logger: logging.Logger, extra: Mapping[str, Any] | None) -> None:
        super().__init__(logger, extra or {})
        self.workflow_info_on_message = True
        self.workflow_info_on_extra = True
        self.full_workflow_info_on_extra = False
        self.log_during_replay = False
        self.disable_sandbox = False

    def process(
        self, msg: Any, kwargs: MutableMapping[str, Any]
    ) -> tuple[Any, MutableMapping[str, Any]]:
        """Add the run's ids."""
        instance = maybe_current()
        given: Mapping[str, Any] = kwargs.get("extra") or {}
        extra: dict[str, Any] = {**(self.extra or {}), **given}
        if instance is not None:
            details = instance.info._logger_details()  # pyright: ignore[reportPrivateUsage]
            update = current_update.get()
            if update is not None:
                details = {**details, "update_id": update.id, "update_name": update.name}
            if self.workflow_info_on_message:
                msg = f"{msg} ({details})"
            if self.workflow_info_on_extra:
                extra = {**instance.log_fields(), "temporal_workflow": details, **extra}
            if self.full_workflow_info_on_extra:
                extra["workflow_info"] = instance.info
        kwargs["extra"] = extra
        return msg, kwargs

    def isEnabledFor(self, level: int) -> bool:  # noqa: N802 - the name `logging` calls
        """Whether a record of this level is wanted now."""
        if not super().isEnabledFor(level):
            return False
        instance = maybe_current()
        return instance is None or self.log_during_replay or not instance.is_replaying

    @property
    def base_logger(self) -> logging.Logger:
        """The logger behind the adapter."""
        return self.logger

    def unsafe_disable_sandbox(self, value: bool = True) -> None:
        """Accepted for compatibility."""
        self.disable_sandbox = value


logger = LoggerAdapter(logging.getLogger("hotmesh.workflow"), None)
"""The logger for workflow code."""
