"""The kind table: what a message, a job or a command is. Part of the stored format.

Each kind is one row, and whatever is decided by kind is decided by a set derived from the rows,
below. `kind_table` says what the columns mean; ``make tables`` writes `rust/core/src/kinds.rs` from
here. Kinds are plain integers, not an enum: they are compared on every message.
"""

from __future__ import annotations

from hotmesh.core.kind_table import (
    Body,
    Compared,
    KindTable,
    Local,
    Maker,
    Message,
    Meta,
    Number,
    Role,
    Row,
)

TABLE = KindTable()
_kind = TABLE.add

# fmt: off

# Jobs that tell a run something.
START = _kind(Row(1, Role.JOB, Maker.CALLER, message=Message.START))
SIGNAL = _kind(Row(7, Role.JOB, Maker.CALLER, message=Message.EVENT, handled=True,
    meta=Meta.IDENTITY, body=Body.VALUES))
UPDATE = _kind(Row(8, Role.JOB, Maker.CALLER, message=Message.EVENT, handled=True, answered=True,
    meta=Meta.IDENTITY, body=Body.VALUES))
CANCEL = _kind(Row(9, Role.JOB, Maker.CALLER, message=Message.EVENT,
    meta=Meta.IDENTITY, body=Body.TEXT))
TERMINATE = _kind(Row(10, Role.JOB, Maker.CALLER, message=Message.EVENT,
    meta=Meta.IDENTITY, body=Body.VALUES))
QUERY = _kind(Row(11, Role.JOB, Maker.CALLER, message=Message.RESULT, handled=True, answered=True,
    journaled=False, meta=Meta.REPLY, body=Body.VALUES))
RUN_TIMED_OUT = _kind(Row(19, Role.JOB, Maker.TIMER, number=Number.KEY))

# Commands: what workflow code asks for.
ACTIVITY = _kind(Row(32, Role.COMMAND, Maker.CODE, opens=True, local=Local.WITHOUT_QUEUE,
    number=Number.QUEUE, meta=Meta.OPTIONS, body=Body.VALUES, compared=Compared.BODY))
CANCEL_ACTIVITY = _kind(Row(33, Role.COMMAND, Maker.CODE, about=(ACTIVITY,),
    number=Number.CANCELLATION))
TIMER = _kind(Row(34, Role.COMMAND, Maker.CODE, opens=True,
    number=Number.DUE, compared=Compared.MORE))
CANCEL_TIMER = _kind(Row(35, Role.COMMAND, Maker.CODE, about=(TIMER,), settles=True))
DEADLINE = _kind(Row(36, Role.COMMAND, Maker.CODE, about=(ACTIVITY,),
    number=Number.DUE, meta=Meta.PURPOSE))
CHILD = _kind(Row(37, Role.COMMAND, Maker.CODE, opens=True, local=Local.UNTIL_STARTED,
    meta=Meta.OPTIONS, body=Body.VALUES, compared=Compared.MORE))
CANCEL_CHILD = _kind(Row(38, Role.COMMAND, Maker.CODE, about=(CHILD,), number=Number.CANCELLATION))
SIGNAL_EXTERNAL = _kind(Row(39, Role.COMMAND, Maker.CODE, opens=True, local=Local.ALWAYS,
    meta=Meta.TARGET, body=Body.VALUES, compared=Compared.MORE))
CANCEL_EXTERNAL = _kind(Row(40, Role.COMMAND, Maker.CODE, opens=True, local=Local.ALWAYS,
    meta=Meta.TARGET, body=Body.TEXT, compared=Compared.MORE))
PATCH = _kind(Row(41, Role.COMMAND, Maker.CODE, optional=True))
UPSERT = _kind(Row(42, Role.COMMAND, Maker.CODE, body=Body.JSON, compared=Compared.BODY))
ENRICH = _kind(Row(43, Role.COMMAND, Maker.CODE, body=Body.JSON, compared=Compared.BODY))
EMIT = _kind(Row(44, Role.COMMAND, Maker.CODE, body=Body.JSON, compared=Compared.BODY))
TRACE = _kind(Row(45, Role.COMMAND, Maker.CODE, body=Body.JSON, compared=Compared.BODY))
WAIT = _kind(Row(46, Role.COMMAND, Maker.CODE, opens=True, keyed=True))
SEND_MAIL = _kind(Row(47, Role.COMMAND, Maker.CODE, keyed=True,
    body=Body.VALUES, compared=Compared.BODY))
UPDATE_ACCEPTED = _kind(Row(48, Role.COMMAND, Maker.CODE, about=(UPDATE,), meta=Meta.UPDATE_ID))
UPDATE_COMPLETED = _kind(Row(49, Role.COMMAND, Maker.CODE, about=(UPDATE,),
    meta=Meta.UPDATE_ID, body=Body.OUTCOME))
REDISPATCH = _kind(Row(51, Role.COMMAND, Maker.ROUTER, about=(ACTIVITY,),
    number=Number.QUEUE, meta=Meta.FRAME, body=Body.STATE))
DIGESTS = _kind(Row(52, Role.COMMAND, Maker.ROUTER, told=False, body=Body.DIGESTS))
PAUSED = _kind(Row(53, Role.COMMAND, Maker.CODE, last=True, told=False))
RESUMED = _kind(Row(54, Role.COMMAND, Maker.CODE, about=(PAUSED,), told=False))

# Closing commands: the last one of a run.
COMPLETE = _kind(Row(64, Role.CLOSING, Maker.CODE, status=2, body=Body.VALUES))
FAIL = _kind(Row(65, Role.CLOSING, Maker.CODE, status=3, retried=True, body=Body.FAILURE))
CANCELED = _kind(Row(66, Role.CLOSING, Maker.CODE, status=4, body=Body.FAILURE))
CONTINUE = _kind(Row(67, Role.CLOSING, Maker.CODE, status=6,
    meta=Meta.OPTIONS, body=Body.NEXT, compared=Compared.BODY))
TERMINATED = _kind(Row(68, Role.CLOSING, Maker.ROUTER, about=(TERMINATE,), status=5,
    body=Body.FAILURE))
TIMED_OUT = _kind(Row(69, Role.CLOSING, Maker.ROUTER, about=(RUN_TIMED_OUT,), status=7,
    retried=True, body=Body.FAILURE))

# Jobs that say what came of a command.
ACTIVITY_COMPLETED = _kind(Row(2, Role.JOB, Maker.WORKER, about=(ACTIVITY,), settles=True,
    message=Message.RESULT, number=Number.ATTEMPT, body=Body.VALUES))
ACTIVITY_FAILED = _kind(Row(3, Role.JOB, Maker.WORKER, about=(ACTIVITY,), settles=True,
    message=Message.RESULT, number=Number.ATTEMPT, meta=Meta.WORKER, body=Body.FAILURE))
ACTIVITY_CANCELED = _kind(Row(4, Role.JOB, Maker.WORKER, about=(ACTIVITY,), settles=True,
    message=Message.RESULT, number=Number.ATTEMPT, body=Body.FAILURE))
ACTIVITY_TIMED_OUT = _kind(Row(5, Role.JOB, Maker.TIMER, about=(ACTIVITY,), settles=True,
    message=Message.RESULT, number=Number.PURPOSE, body=Body.FAILURE))
TIMER_FIRED = _kind(Row(6, Role.JOB, Maker.TIMER, about=(TIMER,), settles=True))
CHILD_STARTED = _kind(Row(12, Role.JOB, Maker.STEP, about=(CHILD,), meta=Meta.RUN_ID))
CHILD_START_FAILED = _kind(Row(13, Role.JOB, Maker.STEP, about=(CHILD,), settles=True,
    meta=Meta.RUN_ID))
CHILD_COMPLETED = _kind(Row(14, Role.JOB, Maker.CHILD, about=(CHILD,), settles=True,
    message=Message.RESULT, number=Number.STATUS, meta=Meta.RUN_ID, body=Body.VALUES))
CHILD_FAILED = _kind(Row(15, Role.JOB, Maker.CHILD, about=(CHILD,), settles=True,
    message=Message.RESULT, number=Number.STATUS, meta=Meta.RUN_ID, body=Body.FAILURE))
EXTERNAL_DONE = _kind(Row(16, Role.JOB, Maker.STEP, about=(SIGNAL_EXTERNAL, CANCEL_EXTERNAL),
    settles=True))
EXTERNAL_FAILED = _kind(Row(17, Role.JOB, Maker.STEP, about=(SIGNAL_EXTERNAL, CANCEL_EXTERNAL),
    settles=True))
MAIL = _kind(Row(18, Role.JOB, Maker.CALLER, about=(WAIT,), settles=True, keyed=True,
    message=Message.RESULT, body=Body.VALUES))

# fmt: on

NAMES: dict[int, str] = {
    number: name
    for name, number in sorted(globals().items())
    if name.isupper() and isinstance(number, int)
}
"""Kind → name, for error messages and tools."""

# Jobs.

EVENTS = TABLE.those(lambda row: row.message is Message.EVENT)
"""What somebody was told is accepted; each is taken once, and no run closes with one unread."""
HANDLED = TABLE.those(lambda row: row.handled)
"""What handlers take."""
ANSWERED = TABLE.those(lambda row: row.answered)
"""What somebody waits to be answered by the run's code or its journal."""
NOT_JOURNALED = TABLE.those(lambda row: not row.journaled)

SETTLES: dict[int, tuple[int, ...]] = {
    row.kind: row.about for row in TABLE if row.role is Role.JOB and row.settles
}
"""Outcome → the commands that it may be the outcome of."""
ACTIVITY_OUTCOMES = TABLE.those(lambda row: row.kind in SETTLES and ACTIVITY in row.about)
CHILD_OUTCOMES = TABLE.those(lambda row: row.kind in SETTLES and CHILD in row.about)
CHILD_NEWS = TABLE.those(lambda row: row.role is Role.JOB and CHILD in row.about)
"""What a run is told of its child."""

# Commands.

OPENING = TABLE.those(lambda row: row.opens)
"""What awaits an outcome."""
ALWAYS_LOCAL = TABLE.those(lambda row: row.local is Local.ALWAYS)
MAY_BE_LOCAL = TABLE.those(lambda row: row.local is not Local.NEVER)
"""What may open local work."""
QUEUED = TABLE.those(lambda row: row.number is Number.QUEUE)
"""What may put a task into a queue."""
DUE = TABLE.those(lambda row: row.number is Number.DUE)
"""What sets a timer of the store."""
STORED = OPENING & (QUEUED | DUE)
"""What opens something that is a row of the store, to be deleted when it is settled."""
NAMING_A_QUEUE = TABLE.those(lambda row: row.meta is Meta.OPTIONS)
"""What may name a task queue."""
UPDATE_ANSWERS = TABLE.those(lambda row: row.role is Role.COMMAND and UPDATE in row.about)

ROUTER_MADE = TABLE.those(lambda row: row.role is not Role.JOB and row.maker is Maker.ROUTER)
"""Commands that the router writes; a replayed workflow never issues them."""
UNCOMPARED = ROUTER_MADE | TABLE.those(lambda row: row.optional)
"""Commands that a transition and its replay need not have both."""
WITH_ARGUMENTS = TABLE.those(lambda row: row.compared is not Compared.NOTHING)
"""Commands whose arguments a replay is held to."""
MORE_THAN_BODY = TABLE.those(lambda row: row.compared is Compared.MORE)
"""Those of them whose arguments are not all in the body."""

CLOSING = TABLE.those(lambda row: row.role is Role.CLOSING)
LAST = CLOSING | TABLE.those(lambda row: row.last)
"""What is the last command of its transition; PAUSED if the code was stopped midway, RESUMED is the
first one of the next, in which it goes on."""
CLOSE_STATUS: dict[int, int] = {row.kind: row.status for row in TABLE if row.kind in CLOSING}
"""The run status that each closing command leaves behind."""
UNTOLD = TABLE.those(lambda row: not row.told)
"""Commands that say nothing to people."""
RETRIED = TABLE.those(lambda row: row.retried)
"""The ends after which a retry policy is asked."""
ENDING = frozenset(job for kind in CLOSING & ROUTER_MADE for job in TABLE[kind].about)
"""Jobs that end a run without its code."""
ACCEPTED = (EVENTS | {START}) - ENDING
"""What somebody has been told is stored for a run's code."""

# Whatever it is.

VALUES = TABLE.those(lambda row: row.body is Body.VALUES)
"""Events whose body is values, perhaps with a document in front."""
FAILURES = TABLE.those(lambda row: row.body is Body.FAILURE)
"""Events whose body is a failure."""
KEYED = TABLE.those(lambda row: row.keyed)
"""Events whose body belongs to no run, but to whoever has the key."""
