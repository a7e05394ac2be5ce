"""The timer wheel equals a sorted list."""

from types import ModuleType

from hypothesis import given
from hypothesis import strategies as st

times = st.one_of(st.integers(0, 200), st.integers(0, 10**13), st.integers(-(2**63), 2**63 - 1))
operations = st.lists(
    st.one_of(
        st.tuples(st.just("add"), times, st.integers(0, 30)),
        st.tuples(st.just("cancel"), st.integers(0, 30)),
        st.tuples(st.just("advance"), times),
    ),
    max_size=60,
)


@given(steps=operations)
def test_equals_a_sorted_list(core: ModuleType, steps: list) -> None:
    wheel = core.Wheel()
    model: dict[int, tuple[int, int]] = {}  # token → (due, insertion)
    for order, step in enumerate(steps):
        if step[0] == "add":
            wheel.add(step[1], step[2])
            model[step[2]] = (step[1], order)
        elif step[0] == "cancel":
            assert wheel.cancel(step[1]) == (model.pop(step[1], None) is not None)
        else:
            due = sorted((key, token) for token, key in model.items() if key[0] <= step[1])
            assert wheel.advance(step[1]) == [token for _, token in due]
            for _, token in due:
                del model[token]
        assert len(wheel) == len(model)
        assert wheel.next_due() == min((due for due, _ in model.values()), default=None)


def test_a_year_is_one_step(core: ModuleType) -> None:
    wheel = core.Wheel()
    year_ms = 365 * 24 * 3600 * 1000
    for token in range(1000):
        wheel.add((token + 1) * year_ms, token)
    assert wheel.advance(year_ms - 1) == []
    assert wheel.next_due() == year_ms
    assert wheel.advance(500 * year_ms) == list(range(500))
    assert len(wheel) == 500


def test_canceled_timers_leave_nothing(core: ModuleType) -> None:
    wheel = core.Wheel()
    for token in range(10_000):
        wheel.add(token, token)
        assert wheel.cancel(token)
    assert len(wheel) == 0
    assert wheel.next_due() is None
    assert wheel.advance(10_000) == []
