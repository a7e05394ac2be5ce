"""Kinds of events: what a message, a job or a command is. Part of the stored format.

Plain integers, not an enum: they are compared on every message. A number is never reused.
"""

from __future__ import annotations

# Jobs: what reaches a workflow.
START = 1
ACTIVITY_COMPLETED = 2
ACTIVITY_FAILED = 3
ACTIVITY_CANCELED = 4
ACTIVITY_TIMED_OUT = 5
TIMER_FIRED = 6
SIGNAL = 7
UPDATE = 8
CANCEL = 9
TERMINATE = 10
QUERY = 11
CHILD_STARTED = 12
CHILD_START_FAILED = 13
CHILD_COMPLETED = 14
CHILD_FAILED = 15
EXTERNAL_DONE = 16
EXTERNAL_FAILED = 17
MAIL = 18
RUN_TIMED_OUT = 19

# Commands: what a workflow asks for.
ACTIVITY = 32
CANCEL_ACTIVITY = 33
TIMER = 34
CANCEL_TIMER = 35
DEADLINE = 36
CHILD = 37
CANCEL_CHILD = 38
SIGNAL_EXTERNAL = 39
CANCEL_EXTERNAL = 40
PATCH = 41
UPSERT = 42
ENRICH = 43
EMIT = 44
TRACE = 45
WAIT = 46
SEND_MAIL = 47
UPDATE_ACCEPTED = 48
UPDATE_COMPLETED = 49
REDISPATCH = 51
DIGESTS = 52
"""Digests of the arguments of the transition's commands, where a codec has sealed these."""

# Closing commands: the last one of a run.
COMPLETE = 64
FAIL = 65
CANCELED = 66
CONTINUE = 67
TERMINATED = 68
TIMED_OUT = 69

CLOSE_STATUS: dict[int, int] = {
    COMPLETE: 2,
    FAIL: 3,
    CANCELED: 4,
    TERMINATED: 5,
    CONTINUE: 6,
    TIMED_OUT: 7,
}
"""The run status that each closing command leaves behind."""

ROUTER_MADE: frozenset[int] = frozenset({REDISPATCH, DIGESTS, TERMINATED, TIMED_OUT})
"""Commands that the router writes; a replayed workflow never issues them."""

NAMES: dict[int, str] = {
    number: name
    for name, number in sorted(globals().items())
    if name.isupper() and isinstance(number, int)
}
"""Kind → name, for error messages and tools."""
