"""The backend's clock as a router sees it: never ahead, and not carried away by jumps."""

from __future__ import annotations

from hotmesh.router.clock import STEP_MS, BackendClock

HOUR_MS = 3_600_000


class Place:
    """A machine, and a backend whose clock is read over a slow way."""

    def __init__(self) -> None:
        self.now_s = 50.0
        self.ahead_ms = 1_000_000_000
        self.jumps = 0
        self.clock = BackendClock(lambda: self.now_s, lambda: 0.0)
        self.clock.on_jump = self._jumped

    def _jumped(self) -> None:
        self.jumps += 1

    @property
    def backend_ms(self) -> int:
        return int(self.now_s * 1000) + self.ahead_ms

    def read(self, there_ms: int = 5, back_ms: int = 5, shift_ms: int | None = None) -> None:
        """One call, of so many milliseconds each way."""
        sent = self.clock.mark()
        self.now_s += there_ms / 1000
        backend_ms = self.backend_ms
        self.now_s += back_ms / 1000
        if shift_ms is None:
            self.clock.learn(sent, backend_ms)
        else:
            self.clock.learn_beat(sent, backend_ms, shift_ms)

    @property
    def late_ms(self) -> int:
        """How far behind the backend's clock the router's is."""
        return self.backend_ms - self.clock.now_ms()


def test_it_is_late_by_a_round_trip_at_most_and_keeps_the_best_reading() -> None:
    place = Place()
    place.read(300, 200)
    assert 0 <= place.late_ms <= 201
    place.read(1, 1)
    assert 0 <= place.late_ms <= 2
    place.read(800, 900)
    assert 0 <= place.late_ms <= 2
    assert place.jumps == 0


def test_small_corrections_are_followed_both_ways() -> None:
    place = Place()
    place.read()
    for by_ms in (STEP_MS // 2, -STEP_MS // 2):
        place.ahead_ms += by_ms
        place.read()
        assert 0 <= place.late_ms <= 10
    assert place.jumps == 0


def test_a_jump_is_told_and_not_followed() -> None:
    for by_ms in (HOUR_MS, -HOUR_MS):
        place = Place()
        place.read()
        was = place.late_ms
        place.ahead_ms += by_ms
        place.read()
        place.read()
        assert place.late_ms == was + by_ms
        assert place.jumps == 1
        assert by_ms <= place.clock.jump_ms <= by_ms + 16
        # Taken out, the backend's time is not ahead of what it would be without the jump.
        place.ahead_ms -= place.clock.jump_ms
        assert place.ahead_ms <= 1_000_000_000
        place.read(shift_ms=-place.clock.jump_ms)
        assert 0 <= place.late_ms <= 10
        assert place.clock.jump_ms == 0
        assert place.jumps == 1


def test_a_slow_first_reading_is_no_jump() -> None:
    place = Place()
    place.read(0, 5_000)
    place.read()
    assert (place.jumps, place.late_ms) == (0, 5)


def test_a_reading_from_before_a_jump_was_taken_out_says_nothing() -> None:
    place = Place()
    place.read(shift_ms=0)
    place.ahead_ms += HOUR_MS
    place.read()
    sent, jumped_ms = place.clock.mark(), place.backend_ms
    place.ahead_ms -= HOUR_MS
    place.read(shift_ms=-HOUR_MS)
    place.clock.learn(sent, jumped_ms)
    assert (place.jumps, place.clock.jump_ms) == (1, 0)
    place.read()
    assert 0 <= place.late_ms <= 10


def test_what_a_beat_has_settled_is_followed() -> None:
    place = Place()
    place.read(shift_ms=0)
    place.ahead_ms -= HOUR_MS
    place.read()
    place.ahead_ms += HOUR_MS - 900  # as of the last beat, by somebody else
    place.read(shift_ms=HOUR_MS - 900)
    assert 0 <= place.late_ms <= 10
    assert place.clock.wall_ms() == place.clock.now_ms() - HOUR_MS + 900


def test_nothing_is_followed_forward_however_the_shift_has_changed() -> None:
    """A jump back, and one forward before the first was taken out."""
    for told in (True, False):
        place = Place()
        place.read(shift_ms=0)
        place.ahead_ms -= HOUR_MS
        if told:  # else by somebody else
            place.read()
        place.ahead_ms += HOUR_MS
        place.ahead_ms += HOUR_MS  # taken out
        place.read(shift_ms=HOUR_MS)
        assert place.late_ms >= HOUR_MS
        assert HOUR_MS <= place.clock.jump_ms <= HOUR_MS + 16
        place.ahead_ms -= HOUR_MS
        place.read(shift_ms=0)
        assert 0 <= place.late_ms <= 10
        assert place.clock.jump_ms == 0


def test_a_slow_beat_takes_nothing_back() -> None:
    place = Place()
    place.read(shift_ms=0)
    place.read(700, 900, shift_ms=0)
    assert 0 <= place.late_ms <= 10


def test_a_clock_set_back_behind_which_nobody_has_been_is_followed_with_a_beat() -> None:
    place = Place()
    place.read(shift_ms=0)
    place.ahead_ms -= 700
    place.read()
    assert place.jumps == 1
    place.read(shift_ms=0)
    assert (place.clock.jump_ms, 0 <= place.late_ms <= 10) == (0, True)


def test_due_times_are_reckoned_by_the_backends_time() -> None:
    place = Place()
    place.read(shift_ms=HOUR_MS)
    wall_ms = place.clock.wall_ms()
    assert place.clock.due_shift_ms(wall_ms) == HOUR_MS
    ahead_ms = wall_ms + 5_000  # a run's own time, which never goes back
    assert ahead_ms + place.clock.due_shift_ms(ahead_ms) == place.clock.now_ms()
