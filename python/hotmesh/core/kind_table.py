"""The columns of the kind table: what a row of `hotmesh.core.kinds` says of a kind of event.

An event is stored as (kind, seq, number, name, meta, body). What the last five mean depends on the
kind, and so does nearly every decision about it; here is what can be said, there it is said once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from enum import Enum, auto
from typing import NamedTuple


class Role(Enum):
    """What an event is to its run."""

    JOB = auto()
    """It reaches the run."""
    COMMAND = auto()
    """The run asks for it; its sequence number is of the run's own counting, or 0."""
    CLOSING = auto()
    """The last command of a run. Its number is above those of all others."""


class Maker(Enum):
    """Who makes it."""

    CALLER = auto()
    """A client, or another run."""
    WORKER = auto()
    """Who ran an activity, or gave it up."""
    TIMER = auto()
    """A timer of the store that fired."""
    STEP = auto()
    """The step that carried a command out, by its answer."""
    CHILD = auto()
    """The router of a child, which has ended."""
    CODE = auto()
    """Workflow code."""
    ROUTER = auto()
    """The router, beside or instead of the code: a replay never issues it."""


class Message(Enum):
    """As what kind of stored message it reaches a run."""

    START = auto()
    EVENT = auto()
    """Somebody was told that it is accepted: the store closes no run that has one unread, and the
    ledger takes each of them, named in `meta`, once."""
    RESULT = auto()


class Local(Enum):
    """When a command's work is done by this process alone, so that a crash loses it."""

    NEVER = auto()
    ALWAYS = auto()
    """Until its outcome is known."""
    UNTIL_STARTED = auto()
    WITHOUT_QUEUE = auto()
    """If its number is 0."""


class Number(Enum):
    """What an event's number is."""

    NONE = auto()
    QUEUE = auto()
    """The queue id of a task that is in the store; 0: there is none."""
    DUE = auto()
    """When a timer that is in the store is due: milliseconds of the backend's time."""
    ATTEMPT = auto()
    PURPOSE = auto()
    """1: schedule to start; 2: schedule to close."""
    KEY = auto()
    """The key of a timer of the run's own."""
    STATUS = auto()
    """The run status of what has ended."""
    CANCELLATION = auto()
    """How whoever asked for it is told of the cancellation."""


class Meta(Enum):
    """What an event's `meta` is."""

    NONE = auto()
    IDENTITY = auto()
    """What tells it from others of its kind; a second one is dropped."""
    REPLY = auto()
    """The reply id that the answer is stored under."""
    UPDATE_ID = auto()
    RUN_ID = auto()
    OPTIONS = auto()
    """A document, which may name the task queue it is for (``"q"``)."""
    TARGET = auto()
    """A document that names another run."""
    PURPOSE = auto()
    """One byte, as :attr:`Number.PURPOSE`."""
    WORKER = auto()
    """A document that names who ran the attempt; or empty."""
    FRAME = auto()
    """The frame of a task."""


class Body(Enum):
    """What an event's body is."""

    NONE = auto()
    VALUES = auto()
    """Values, perhaps with a document in front."""
    FAILURE = auto()
    """A failure; or empty."""
    OUTCOME = auto()
    """A status byte, and the values or the failure that it announces."""
    NEXT = auto()
    """A run id, and the values for that run."""
    JSON = auto()
    TEXT = auto()
    STATE = auto()
    """The state of a task."""
    DIGESTS = auto()
    """Digests of the arguments of the transition's commands, where a codec has sealed these."""


class Compared(Enum):
    """What a replay holds against the journal of a command, besides kind, seq and name."""

    NOTHING = auto()
    BODY = auto()
    """What is in the body, or a part of it."""
    MORE = auto()
    """Something that is not in the body, too."""


class Row(NamedTuple):
    """A row: what holds for all events of a kind."""

    kind: int
    """Its number: what is stored of it, 0 to 255; never given to another kind."""
    role: Role
    maker: Maker
    about: tuple[int, ...] = ()
    """The kinds of which it concerns one: by its sequence number, or by an id."""
    settles: bool = False
    """Whether what it is about is over with it."""
    opens: bool = False
    """Whether an outcome of it is awaited, by its sequence number."""
    local: Local = Local.NEVER
    """When what it opens is local work."""
    message: Message | None = None
    """How it comes; None: it is made by the router that delivers it."""
    handled: bool = False
    """Whether a handler of the run takes it: by name, and before the code goes on."""
    answered: bool = False
    """Whether somebody waits for an answer that only the run's code, or its journal, can give."""
    journaled: bool = True
    optional: bool = False
    """Whether a replay may leave it out, or issue it though the journal has none."""
    keyed: bool = False
    """Whether a key says whom it is for: its body belongs to no run."""
    last: bool = False
    """Whether nothing follows it in its transition, as nothing follows a closing command."""
    told: bool = True
    """Whether it says something to people."""
    retried: bool = False
    """Whether the run that it closes is followed by another if its retry policy says so."""
    number: Number = Number.NONE
    meta: Meta = Meta.NONE
    body: Body = Body.NONE
    compared: Compared = Compared.NOTHING
    status: int = 0
    """The run status that it leaves behind."""


class KindTable:
    """The rows, each number once."""

    def __init__(self) -> None:
        self._rows: dict[int, Row] = {}

    def __iter__(self) -> Iterator[Row]:
        """The rows by number."""
        return iter(sorted(self._rows.values(), key=lambda row: row.kind))

    def __getitem__(self, kind: int) -> Row:
        """The row of a kind."""
        return self._rows[kind]

    def add(self, row: Row) -> int:
        """Take in a row.

        Returns:
            Its kind.
        """
        assert 0 <= row.kind <= 255, row
        assert row.kind not in self._rows, row
        self._rows[row.kind] = row
        return row.kind

    def those(self, fits: Callable[[Row], bool]) -> frozenset[int]:
        """The kinds whose row fits."""
        return frozenset(row.kind for row in self if fits(row))
