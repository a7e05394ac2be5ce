"""A journal that is too large to be decoded as a whole: its rows are, one at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from hotmesh.core.types import Transition


class Journal:
    """The transitions of a run, decoded anew whenever they are walked through.

    Args:
        frames: The rows as stored, in order; known to be sound.
        decode: Decodes one.
    """

    __slots__ = ("_added", "_decode", "_frames", "outline")

    def __init__(self, frames: Sequence[bytes], decode: Callable[[bytes], Transition]) -> None:
        self._frames = list(frames)
        self._decode = decode
        self._added: list[Transition] = []
        self.outline = [_outline_of(decode(frame)) for frame in frames]
        """Its transitions without the bodies of their events."""

    def __len__(self) -> int:
        return len(self._frames) + len(self._added)

    def __iter__(self) -> Iterator[Transition]:
        for frame in self._frames:
            yield self._decode(frame)
        yield from self._added

    def add(self, transition: Transition) -> None:
        """A row was written behind the others."""
        self._added.append(transition)
        self.outline.append(_outline_of(transition))

    def consume(self) -> Iterator[Transition]:
        """Walk through it for the last time: each row is let go of as it is decoded."""
        for at, frame in enumerate(self._frames):
            self._frames[at] = b""
            transition = self._decode(frame)
            del frame
            yield transition
            del transition
        yield from self._added


def _outline_of(transition: Transition) -> Transition:
    now_ms, jobs, commands = transition
    return now_ms, [(*job[:5], b"") for job in jobs], [(*each[:5], b"") for each in commands]


Transitions = Sequence[Transition] | Journal
"""A run's journal, decoded or not."""
