"""What the processes log: kept to oneself, but for what must never be said."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator


class Log(logging.Handler):
    """Gathers the records that tell of a fault in the engine itself."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.alarms: list[str] = []
        self.is_closed = False

    def close(self) -> None:
        """Listen no more."""
        self.is_closed = True
        super().close()

    def emit(self, record: logging.LogRecord) -> None:
        """Keep it, until closed: what is abandoned at the end complains."""
        if self.is_closed or (record.levelno < logging.CRITICAL and not _is_blame(record)):
            return
        error = record.exc_info[1] if record.exc_info else None
        self.alarms.append(f"{record.getMessage()}: {error!r}")


@contextlib.contextmanager
def overheard() -> Iterator[Log]:
    """In the block nothing is logged; a break-down is an error at its end.

    Raises:
        AssertionError: Something broke down.
    """
    log, logger = Log(), logging.getLogger("hotmesh")
    propagate, logger.propagate = logger.propagate, False
    logger.addHandler(log)
    try:
        yield log
    finally:
        logger.removeHandler(log)
        logger.propagate = propagate
    alarms = [each for each in log.alarms if "BackendUnavailableError" not in each]
    assert not alarms, f"logged: {alarms}"


def _is_blame(record: logging.LogRecord) -> bool:
    """Whether the database is said to hold what it does not."""
    return "never reads" in record.getMessage()
