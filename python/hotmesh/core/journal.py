"""A journal that is too large to be decoded as a whole: its rows are, one at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from hotmesh.core.types import Transition
from hotmesh.giving_back import let_go


class Journal:
    """The transitions of a run, decoded anew whenever they are walked through.

    Args:
        frames: The rows as stored, in order; known to be sound. A list is taken over: whoever else
            has it keeps no row that was let go of.
        decode: Decodes one.
        outline: The transitions without the bodies of their events.
    """

    __slots__ = ("_added", "_decode", "_frames", "_opened", "outline")

    def __init__(
        self,
        frames: Sequence[bytes],
        decode: Callable[[bytes], Transition],
        outline: Sequence[Transition],
    ) -> None:
        self._frames: list[bytes] = frames if isinstance(frames, list) else list(frames)
        self._opened: dict[int, Transition] = {}
        """Rows that :meth:`replace` was given."""
        self._decode = decode
        self._added: list[Transition] = []
        self.outline = list(outline)
        """Its transitions without the bodies of their events."""

    def __len__(self) -> int:
        return len(self._frames) + len(self._added)

    def __iter__(self) -> Iterator[Transition]:
        for at in range(len(self._frames)):
            yield self[at]
        yield from self._added

    def __getitem__(self, at: int) -> Transition:
        if at >= len(self._frames):
            return self._added[at - len(self._frames)]
        return self._opened.get(at) or self._decode(self._frames[at])

    def replace(self, at: int, transition: Transition) -> None:
        """Have this in the place of a row as it is stored, which is let go of."""
        if at >= len(self._frames):
            self._added[at - len(self._frames)] = transition
            return
        size, self._frames[at] = len(self._frames[at]), b""
        self._opened[at] = transition
        let_go(size)

    def add(self, transition: Transition) -> None:
        """A row was written behind the others."""
        self._added.append(transition)
        self.outline.append(outline_of(transition))

    def consume(self) -> Iterator[Transition]:
        """Walk through it for the last time: each row is let go of as it is decoded."""
        for at, frame in enumerate(self._frames):
            self._frames[at] = b""
            transition = self._opened.pop(at, None) or self._decode(frame)
            size = len(frame)
            del frame
            let_go(size)
            yield transition
            del transition
        yield from self._added


def outline_of(transition: Transition) -> Transition:
    """A transition without the bodies of its events."""
    now_ms, jobs, commands = transition
    return now_ms, [(*job[:5], b"") for job in jobs], [(*each[:5], b"") for each in commands]


Transitions = Sequence[Transition] | Journal
"""A run's journal, decoded or not."""
