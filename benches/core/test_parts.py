"""What each part of the core costs, Rust beside Python: `pytest benches/core`.

Needs pytest-benchmark. Every benchmark does a batch of 500, so that a call's overhead is as small
as in a router.
"""

from types import ModuleType
from typing import Any

from hotmesh.core import kinds

BATCH = 500
LANE = 70
HORIZON_MS = 5_000
RUNS = [number.to_bytes(16, "big") for number in range(1, BATCH + 1)]
START = (kinds.START, 0, 0, "", b"", b"")
ACTIVITY = (kinds.ACTIVITY, 1, 0, "charge_card", b'{"sc":60000}', b"[1]")
RESULT = (kinds.ACTIVITY_COMPLETED, 1, 1, "", b"", b"[1]")
COMPLETE = (kinds.COMPLETE, 0, 0, "", b"", b"[1]")


def test_encode_event(benchmark: Any, core: ModuleType) -> None:
    def run() -> list[bytes]:
        return [core.encode_event(RESULT) for _ in range(BATCH)]

    assert len(set(benchmark(run))) == 1


def test_decode_event(benchmark: Any, core: ModuleType) -> None:
    frame = core.encode_event(RESULT)

    def run() -> list[Any]:
        return [core.decode_event(frame) for _ in range(BATCH)]

    assert benchmark(run)[-1] == RESULT


def test_encode_transition(benchmark: Any, core: ModuleType) -> None:
    def run() -> list[bytes]:
        return [core.encode_transition(1_000, [RESULT], [ACTIVITY]) for _ in range(BATCH)]

    assert len(set(benchmark(run))) == 1


def test_decode_transition(benchmark: Any, core: ModuleType) -> None:
    frame = core.encode_transition(1_000, [RESULT], [ACTIVITY])

    def run() -> list[Any]:
        return [core.decode_transition(frame) for _ in range(BATCH)]

    assert benchmark(run)[-1][0] == 1_000


def test_match_commands(benchmark: Any, core: ModuleType) -> None:
    commands = [(kinds.ACTIVITY, seq, 0, "step", b"{}", b"[]") for seq in range(1, BATCH + 1)]
    again = [(*each,) for each in commands]

    assert benchmark(core.match_commands, commands, again) < 0


def test_ledger(benchmark: Any, core: ModuleType) -> None:
    commands = [(kinds.ACTIVITY, seq, 0, "", b"", b"") for seq in range(1, BATCH + 1)]
    results = [(kinds.ACTIVITY_COMPLETED, seq, 1, "", b"", b"") for seq in range(1, BATCH + 1)]

    def run() -> bool:
        ledger = core.Ledger()
        accepted = ledger.accept(START)
        for command in commands:
            ledger.command(command)
        for result in results:
            accepted = ledger.accept(result) and accepted
        return bool(accepted)

    assert benchmark(run)


def test_wheel(benchmark: Any, core: ModuleType) -> None:
    dues = [1_000 + token * 7 % 3_000 for token in range(BATCH)]  # costs as much as a call

    def run() -> int:
        wheel = core.Wheel()
        for token, due in enumerate(dues):
            wheel.add(due, token)
        return len(wheel.advance(5_000))

    assert benchmark(run) == BATCH


def test_router_starts(benchmark: Any, core: ModuleType) -> None:
    """500 starts are read, and each workflow begins an activity."""
    frame = core.encode_event(START)
    rows = [
        (number, LANE, run_id, frame, "id", "type", b"{}", b"[1]", False)
        for number, run_id in enumerate(RUNS, 1)
    ]

    def run() -> int:
        router = core.Router(HORIZON_MS)
        router.commit(rows, ())
        activations = router.ingest((), 1_000)[0]
        for run_id, _, _ in activations:
            router.complete(run_id, 1_000, [ACTIVITY])
        router.drain()
        router.commit((), ())
        return len(activations)

    assert benchmark(run) == BATCH


def test_router_results(benchmark: Any, core: ModuleType) -> None:
    """500 results arrive, and each workflow completes."""
    start, result = core.encode_event(START), core.encode_event(RESULT)
    starts = [
        (number, LANE, run_id, start, "id", "type", b"{}", b"[1]", False)
        for number, run_id in enumerate(RUNS, 1)
    ]
    results = [
        (number, LANE, run_id, result, None, None, None, None, None)
        for number, run_id in enumerate(RUNS, BATCH + 1)
    ]

    def begun() -> tuple[tuple[Any], dict[str, Any]]:
        router = core.Router(HORIZON_MS)
        router.commit(starts, ())
        for run_id, _, _ in router.ingest((), 1_000)[0]:
            router.complete(run_id, 1_000, [ACTIVITY])
        router.drain()
        return (router,), {}

    def run(router: Any) -> int:
        router.commit(results, ())
        activations = router.ingest((), 2_000)[0]
        for run_id, _, _ in activations:
            router.complete(run_id, 2_000, [COMPLETE])
        router.drain()
        router.commit((), ())
        return len(activations)

    assert benchmark.pedantic(run, setup=begun, rounds=50) == BATCH
