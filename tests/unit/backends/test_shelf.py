"""What a session reads of large messages, and when: each run's in order, nobody's never."""

import random
from pathlib import Path

import pytest

from hotmesh import backends
from hotmesh.backends.protocol import ANY_SIZE
from hotmesh.backends.shelf import Shelf, Shelved, size_of
from hotmesh.limits import BATCH_BYTES_MAX, LARGE_TURN_BYTES, SHELVED_MAX, SMALL_BYTES_MAX

BACKENDS = Path(backends.__file__).parent
HUGE = LARGE_TURN_BYTES + 1
ROOM = 100


def row(number: int, run: str, size: int, lane: int = 1) -> tuple[object, ...]:
    """As a step reads it: large ones without their frames."""
    frame = bytes(size) if size < SMALL_BYTES_MAX else size
    return number, lane, run.encode(), frame, None, None, None, None, False


def ids(picked: list[Shelved]) -> list[int]:
    return [each.id for each in picked]


def test_what_is_small_passes_unless_its_run_waits() -> None:
    shelf = Shelf()
    given = shelf.sort([row(1, "a", 5), row(2, "b", HUGE), row(3, "a", 5), row(4, "b", 5)])
    assert [each[0] for each in given] == [1, 3]
    assert shelf.sort([row(5, "b", 5), row(6, "c", 5)]) == [row(6, "c", 5)]
    assert shelf.has_large
    assert shelf.pick(ROOM, 0, LARGE_TURN_BYTES) == []
    picked = shelf.pick(ROOM, 0, ANY_SIZE)
    assert ids(picked) == [2]
    shelf.take(picked)
    assert not shelf.has_large
    shelf.take(picked := shelf.pick(ROOM, 0, LARGE_TURN_BYTES))
    assert ids(picked) == [4, 5]
    assert len(shelf) == 0
    assert shelf.sort([row(7, "b", 5)]) == [row(7, "b", 5)]


def test_a_full_step_reads_one_of_them_all_the_same() -> None:
    shelf = Shelf()
    shelf.sort([row(1, "a", SMALL_BYTES_MAX), row(2, "b", SMALL_BYTES_MAX)])
    assert ids(shelf.pick(ROOM, BATCH_BYTES_MAX, LARGE_TURN_BYTES)) == [1]
    assert ids(shelf.pick(0, 0, LARGE_TURN_BYTES)) == [1]
    assert ids(shelf.pick(1, 0, LARGE_TURN_BYTES)) == [1]
    assert ids(shelf.pick(2, 0, LARGE_TURN_BYTES)) == [1, 2]


def test_what_fits_goes_beside_the_oldest_that_does_not() -> None:
    shelf = Shelf()
    half = BATCH_BYTES_MAX // 2 + 1
    shelf.sort([row(n, "abcd"[n - 1], size) for n, size in enumerate((half, HUGE, half, half), 1)])
    assert ids(shelf.pick(ROOM, 0, ANY_SIZE)) == [1, 2]
    assert ids(shelf.pick(ROOM, 0, LARGE_TURN_BYTES)) == [1, 3]


def test_nothing_large_is_read_where_only_small_ones_are_wanted() -> None:
    shelf = Shelf()
    shelf.sort([row(1, "a", SMALL_BYTES_MAX), row(2, "a", 5), row(3, "b", HUGE)])
    assert shelf.pick(ROOM, 0, SMALL_BYTES_MAX - 1) == []
    assert ids(shelf.pick(ROOM, 0, SMALL_BYTES_MAX)) == [1, 2]


def test_lanes_that_are_read_anew_leave_nothing() -> None:
    shelf = Shelf()
    shelf.sort([row(1, "a", HUGE, 1), row(2, "b", HUGE, 2), row(3, "a", 5, 1)])
    shelf.forget([1])
    assert len(shelf) == 1
    assert shelf.sort([row(3, "a", 5, 1)]) == [row(3, "a", 5, 1)]
    shelf.forget(None)
    assert not shelf.has_large
    assert shelf.sort([row(4, "b", 5, 2)]) == [row(4, "b", 5, 2)]


def test_it_has_an_end() -> None:
    shelf = Shelf()
    shelf.sort(row(number, str(number), HUGE) for number in range(SHELVED_MAX))
    assert shelf.is_full
    shelf.take(shelf.pick(ROOM, 0, ANY_SIZE))
    assert not shelf.is_full


@pytest.mark.parametrize("where", ["sqlite/sql", "postgres/sql/functions", "redis/lua"])
def test_every_backend_has_the_same_idea_of_what_is_small(where: str) -> None:
    texts = [path.read_text() for path in (BACKENDS / where).iterdir() if path.is_file()]
    forms = (str(SMALL_BYTES_MAX), f"{SMALL_BYTES_MAX // 1024} * 1024 -- SMALL_BYTES_MAX")
    assert any(form in text for text in texts for form in forms)


def test_what_waits_behind_something_large_counts_once_it_is_read() -> None:
    shelf = Shelf()
    half = SMALL_BYTES_MAX // 2
    small = [row(number, "a", half) for number in range(2, 2 + 2 * BATCH_BYTES_MAX // half)]
    shelf.sort([row(1, "a", SMALL_BYTES_MAX), *small])
    picked = shelf.pick(len(small), 0, LARGE_TURN_BYTES)
    assert BATCH_BYTES_MAX <= sum(each.size for each in picked) < BATCH_BYTES_MAX + half


def test_what_has_just_the_size_of_a_turn_needs_none() -> None:
    shelf = Shelf()
    shelf.sort([row(1, "a", LARGE_TURN_BYTES)])
    assert not shelf.has_large
    assert ids(shelf.pick(ROOM, 0, LARGE_TURN_BYTES)) == [1]


def test_a_damaged_header_counts_for_nothing() -> None:
    assert size_of((1, 1, b"a", b"frame", "w", "T", 7, b"body", False)) == 9


def test_each_run_has_its_messages_in_order_and_none_waits_for_ever() -> None:
    for seed in range(100):
        chance, shelf = random.Random(seed), Shelf()
        sizes = (5, SMALL_BYTES_MAX, BATCH_BYTES_MAX // 3, LARGE_TURN_BYTES, HUGE)
        left = [row(n, chance.choice("abcdefgh"), chance.choice(sizes)) for n in range(60)]
        given: dict[object, list[object]] = {}
        steps = 0
        while left or len(shelf):
            steps += 1
            count = chance.randrange(20)
            rows, left = left[:count], left[count:]
            small = shelf.sort(rows)
            read = sum(map(size_of, small))
            size_max = ANY_SIZE if steps % 2 else LARGE_TURN_BYTES
            picked = shelf.pick(ROOM, read, size_max)
            assert sum(each.size for each in picked[:-1]) < max(BATCH_BYTES_MAX - read, 1)
            assert all(each.size <= size_max for each in picked)
            shelf.take(picked)
            for each in small:
                given.setdefault(each[2], []).append(each[0])
            for each in picked:
                given.setdefault(each.run_id, []).append(each.id)
        assert sum(map(len, given.values())) == 60
        assert all(numbers == sorted(numbers) for numbers in given.values())  # type: ignore[type-var]
        assert steps < 200
