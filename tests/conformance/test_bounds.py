"""What a call brings is bounded in bytes, on each backend; the rest comes when it is asked for."""

import os
from collections import Counter
from collections.abc import Sequence

from conformance.mesh import NAMESPACE, Mesh, Router, task_columns
from hotmesh.backends.protocol import LoadedRun, MessageRow, TaskRow
from hotmesh.limits import BATCH_BYTES_MAX

ITEM_BYTES = BATCH_BYTES_MAX // 5
COUNT = 13


def large(number: int) -> bytes:
    """Bytes that no store makes smaller, told apart by their beginning."""
    return number.to_bytes(2, "big") + os.urandom(ITEM_BYTES)


def number_of(data: bytes | None) -> int:
    assert data is not None
    return int.from_bytes(data[:2], "big")


def assert_bounded(sizes: Sequence[int]) -> None:
    """The last item may go past the bound; none may follow it."""
    assert sum(sizes[:-1]) < BATCH_BYTES_MAX


async def read_bounded(router: Router, count: int) -> list[MessageRow]:
    """Read until so many messages have come, each step within the bound."""
    rows: list[MessageRow] = []
    while len(rows) < count:
        found = await router.read()
        assert found
        assert_bounded([len(r.frame) + len(r.input or b"") for r in found])
        rows += found
    assert await router.read() == []
    return rows


async def test_a_step_reads_so_many_bytes_of_starts(mesh: Mesh) -> None:
    router = await mesh.join()
    run_ids = {await mesh.start(f"order-{n}", input=large(n)): n for n in range(COUNT)}
    rows = await read_bounded(router, COUNT)
    assert {row.run_id: number_of(row.input) for row in rows} == run_ids


async def test_a_step_reads_so_many_bytes_of_messages_in_order(mesh: Mesh) -> None:
    router = await mesh.join()
    await mesh.start("one")
    await mesh.start("other")
    for number in range(COUNT):
        await mesh.send("other" if number % 4 == 1 else "one", large(number))
    rows = await read_bounded(router, COUNT + 2)
    by_run: dict[bytes, list[int]] = {}
    for row in rows:
        if len(row.frame) > ITEM_BYTES:
            by_run.setdefault(row.run_id, []).append(number_of(row.frame))
    found = list(by_run.values())
    assert sorted(found) == [
        [n for n in range(COUNT) if n % 4 != 1],
        [n for n in range(COUNT) if n % 4 == 1],
    ]
    await router.acknowledge(rows)
    assert await router.read() == []


async def test_small_messages_come_beside_large_ones(mesh: Mesh) -> None:
    router = await mesh.join()
    await mesh.start("large")
    for number in range(COUNT):
        await mesh.send("large", large(number))
    small = {await mesh.start(f"small-{n}") for n in range(40)}
    rows = await read_bounded(router, COUNT + 41)
    assert small <= {row.run_id for row in rows}


async def test_a_load_brings_so_many_bytes(mesh: Mesh) -> None:
    router = await mesh.join()
    runs = {await mesh.start(f"order-{n}", input=large(n)): n for n in range(COUNT)}
    small = await mesh.start("small")
    await write_journal(router, small, [b"a", b"b"])
    missing = b"?" * 16
    asked = [missing, *runs, small]
    found: list[LoadedRun] = []
    while asked:
        loads = await router.session.load(asked)
        assert loads.runs
        assert_bounded([len(run.input) for run in loads.runs])
        found += loads.runs
        assert set(loads.left) < set(asked)
        asked = list(loads.left)
    assert Counter(run.run_id for run in found) == Counter([*runs, small])
    assert {r.run_id: number_of(r.input) for r in found if r.run_id != small} == runs
    assert [list(r.frames) for r in found if r.run_id == small] == [[b"a", b"b"]]


async def test_a_journal_of_many_bytes_is_loaded_in_order(mesh: Mesh) -> None:
    router = await mesh.join()
    run_id = await mesh.start("order")
    frames = [large(n) if n % 20 == 0 else b"%d" % n for n in range(20 * COUNT)]
    for at in range(0, len(frames), 60):
        await write_journal(router, run_id, frames[at : at + 60], at)
    other = await mesh.start("other")
    (loaded,) = [run for run in await load_all(router, [run_id, other]) if run.run_id == run_id]
    assert list(loaded.frames) == frames
    assert list(await mesh.backend.journal(NAMESPACE, run_id)) == frames


async def load_all(router: Router, asked: Sequence[bytes]) -> list[LoadedRun]:
    found: list[LoadedRun] = []
    while asked:
        runs, asked = await router.session.load(asked)
        found += runs
    return found


async def write_journal(
    router: Router, run_id: bytes, frames: Sequence[bytes], first: int = 0
) -> None:
    await router.commit(
        journal_run=[run_id] * len(frames),
        journal_seq=list(range(first, first + len(frames))),
        journal_frame=list(frames),
    )


async def test_a_claim_takes_so_many_bytes(mesh: Mesh) -> None:
    router = await mesh.join()
    run_id = await mesh.start("order")
    for seq in range(COUNT):
        kind = ("charge", "ship")[seq % 2]
        columns = task_columns(mesh, run_id, "order", seq, activity_type=kind, frame=large(seq))
        await router.commit(**columns)
    found: list[TaskRow] = []
    while len(found) < COUNT:
        reply = await router.work(room=COUNT, types=["charge", "ship"])
        rows = [TaskRow(*row) for row in reply.tasks]
        assert rows
        assert_bounded([len(row.frame) for row in rows])
        found += rows
    assert sorted(row.seq for row in found) == list(range(COUNT))
    assert all(number_of(row.frame) == row.seq and row.attempt == 1 for row in found)


async def test_results_come_so_many_bytes_at_a_time(mesh: Mesh) -> None:
    router = await mesh.join()
    runs = {await mesh.start(f"order-{n}"): n for n in range(COUNT)}
    for run_id, number in runs.items():
        await router.acknowledge(await router.read())
        reply = await router.close_run(
            run_id, mesh.lane_of(f"order-{number}"), result=large(number)
        )
        assert not reply.refused
    asked, found = dict(runs), dict[bytes, int]()
    while asked:
        rows = await mesh.backend.results(NAMESPACE, list(asked))
        assert rows
        assert_bounded([len(row[2]) for row in rows])
        for run_id, status, result in rows:
            assert status == 2
            found[bytes(run_id)] = number_of(result)
            del asked[bytes(run_id)]
    assert found == runs


async def test_replies_come_so_many_bytes_at_a_time(mesh: Mesh) -> None:
    router = await mesh.join()
    replies = {number.to_bytes(16, "big"): large(number) for number in range(COUNT)}
    for reply_id, data in replies.items():
        await router.commit(reply_id=[reply_id], reply_data=[data])
    found: dict[bytes, bytes] = {}
    while len(found) < COUNT:
        asked = [key for key in replies if key not in found]
        rows = await mesh.backend.replies(NAMESPACE, asked)
        assert rows
        assert_bounded([len(data) for _, data in rows])
        found |= {bytes(key): data for key, data in rows}
    assert found == replies
