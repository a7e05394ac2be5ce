"""Every limit of the engine, in one place, with its unit in its name."""

from __future__ import annotations

LANES_PER_QUEUE = 64
"""Lanes that a task queue is divided into; part of the stored format, so it never changes."""

BATCH_MESSAGES_MAX = 500
"""Messages that one step reads at most."""

BATCH_TASKS_MAX = 500
"""Activity tasks that one claim takes at most."""

CLIENT_BATCH_MAX = 500
"""Client calls (starts, signals) that are gathered into one statement at most."""

PAYLOAD_BYTES_MAX = 2 * 1024 * 1024
"""Default limit of one argument list, result, or detail (configurable on the client)."""

PAYLOAD_BYTES_CEILING = {
    "sqlite": 900 * 1024 * 1024,
    "postgres": 200 * 1024 * 1024,
    "redis": 400 * 1024 * 1024,
}
"""What each backend can store in one value; a configured payload limit may not exceed it."""

NAME_BYTES_MAX = 1000
"""Workflow ids, type names, task queues, namespaces, signal names: UTF-8 bytes."""

EVENT_BYTES_MAX = 7_500
"""Topic and data of one event: the smallest bus (a Postgres notification) decides for all."""

TIMER_HORIZON_MS = 5_000
"""How far ahead due timers are loaded into the router's wheel."""

LEASE_MS_DEFAULT = 10_000
LEASE_MS_MIN = 1_000
"""How long a router may be silent before its lanes and tasks are given to others."""

CONTINUE_SUGGESTED_TRANSITIONS = 10_000
CONTINUE_SUGGESTED_BYTES = 16 * 1024 * 1024
"""A run with a longer journal is told that it would be wise to continue as new."""

SHUTDOWN_S = 10.0
"""What a worker's way down may take besides ``graceful_shutdown_timeout``, whatever the database
does."""

DURATION_SECONDS_MAX = 1e12
"""A duration in seconds that is as good as endless: timers of that length or more never fire, and
timeouts of it are refused. Due times stay exact in every backend, Redis's doubles included."""
