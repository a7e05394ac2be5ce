"""Limits that several parts go by, each with its unit. What one part alone goes by stands there."""

from __future__ import annotations

LANES_PER_QUEUE = 64
"""Lanes that a task queue is divided into; part of the stored format, so it never changes."""

BATCH_MESSAGES_MAX = 500
"""Messages that one step reads at most."""

NAMED_RUNS_MAX = 1000
"""Runs that have an attribute's name and are looked at for whether any is in a namespace."""

BATCH_TASKS_MAX = 500
"""Activity tasks that one claim takes at most."""

CLIENT_BATCH_MAX = 500
"""Client calls (starts, signals) that are gathered into one statement at most."""

BATCH_BYTES_MAX = 4 * 1024 * 1024
"""Payload bytes of any batch: what a step or a claim reads, what one call loads, lists or answers,
what a client or an activity worker writes in one call, and the events that one activation of a run
takes. The item that goes past it is the last one, so a batch holds less than this and one item."""

SMALL_BYTES_MAX = 256 * 1024
"""Bytes from which on a message (of a start with its run's header and input) is not read beside the
others: a step tells of it, and it is asked for once the small ones have been read. SQL has the same
number."""

SHELVED_MAX = 10_000
"""Messages that a session knows of and has not read yet; with more it reads no others."""

COUNTED_BYTES = 4 * 1024
"""Bytes from which on what workflow code makes (arguments, results of updates) is counted: once
there is a batch of it in one activation, the code is stopped until that is written."""

ANSWER_KEPT_BYTES = 4 * 1024
"""Up to so many bytes a run keeps the outcome of an update for whoever asks for it again; of larger
ones it keeps the newest, a batch of them, and the others are read from the journal."""

STEP_BYTES_MAX = 4 * 1024 * 1024
"""Journaled bytes from which on no further run is activated before the next step is written. What
commands carry is written up to three times: in the journal, as a task or a start, to a parent."""

LARGE_TURN_BYTES = 8 * 1024 * 1024
"""Bytes of a message from which on only one pipe of a router at a time has such a one in hand."""

ROPE_BYTES = 1024 * 1024
"""Bytes from which on a journal row is not joined: its large parts stay where they are."""

JOURNAL_BYTES_MAX = 32 * 1024 * 1024
"""Bytes of a run's journal up to which it is decoded as a whole when it is loaded; a larger one is
decoded row by row, and let go of as it is replayed."""

GIVE_BACK_BYTES = 32 * 1024 * 1024
"""Large values that are let go of before the C library is asked to give back what is free."""

CACHE_BYTES_MAX = 32 * 1024 * 1024
"""Inputs and journals, as stored, of the runs that a worker keeps in memory. The largest one that
moves stays, however large: its code holds that much."""

CACHE_MOVING_S = 10.0
"""How long after its last transition a run counts as moving."""

RESULTS_BYTES_MAX = 16 * 1024 * 1024
"""Results of activities in the process of their workflow that wait to be journaled; while there are
more of them none is started there."""

PLACED_BYTES_MAX = 8 * 1024 * 1024
"""Arguments of activities that wait for a free slot in the process of their workflow; what exceeds
them goes to the task queue."""

PAYLOAD_BYTES_MAX = 2 * 1024 * 1024
"""Default limit of one argument list, result, or detail (configurable on the client)."""

PAYLOAD_BYTES_CEILING = {
    "sqlite": 440 * 1024 * 1024,
    "postgres": 160 * 1024 * 1024,
    "redis": 230 * 1024 * 1024,
}
"""The highest limit of a payload that may be configured: a transition that takes one in and gives
one out can be stored."""

TRANSITION_BYTES_MAX = {
    "sqlite": 900 * 1024 * 1024,
    "postgres": 330 * 1024 * 1024,
    "redis": 480 * 1024 * 1024,
}
"""What one transition of one run may hold, its jobs and commands together: SQLite's and Redis's
largest value; for Postgres, a call of three times as much is below its limit of 1 GiB."""

NAME_BYTES_MAX = 1000
"""Workflow ids, type names, task queues, namespaces, signal names: UTF-8 bytes."""

EVENT_BYTES_MAX = 7_500
"""Topic and data of one event: the smallest bus (a Postgres notification) decides for all."""

SIDE_QUEUE_KEEP_MS = 60 * 1000
"""How long a side queue's lanes are still read after the last of its runs has ended."""

TIMER_HORIZON_MS = 5_000
"""How far ahead due timers are loaded into the router's wheel."""

LEASE_MS_DEFAULT = 10_000
"""How long a router may be silent before its lanes and tasks are given to others."""

LEASE_MS_MIN = 1_000
"""The shortest lease that a worker may have."""

LEASE_MS_MAX = 60 * 60 * 1000
"""The longest one. What is stored of a longer lease is damaged: nobody waits for its end."""

CLOCK_SHIFT_MS_MAX = 100 * 366 * 24 * 60 * 60 * 1000
"""How far the store's time can be from its wall clock: one without a battery says 1970."""

CONTINUE_SUGGESTED_TRANSITIONS = 10_000
CONTINUE_SUGGESTED_BYTES = 16 * 1024 * 1024
"""A run with a longer journal is told that it would be wise to continue as new."""

SHUTDOWN_S = 10.0
"""What a worker's way down may take besides ``graceful_shutdown_timeout``, whatever the database
does."""

KEPT_SECONDS_MAX = 2**31 - 1
"""How long a closed run is kept at most (68 years), where it is said how long: what is longer is
shortened."""

DURATION_SECONDS_MAX = 1e12
"""A duration in seconds that is as good as endless: timers of that length or more never fire, and
timeouts of it are refused. Due times stay exact in every backend, Redis's doubles included."""
