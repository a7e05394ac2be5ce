"""What a call brings is bounded in bytes, on each backend; the rest comes when it is asked for."""

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from conformance.mesh import NAMESPACE, Mesh, Router, task_columns
from hotmesh.backends.protocol import LoadedRun, MessageRow, TaskRow
from hotmesh.limits import (
    BATCH_BYTES_MAX,
    LANES_PER_QUEUE,
    LARGE_TURN_BYTES,
    TIMER_HORIZON_MS,
)

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


async def test_what_is_small_is_read_before_what_is_large(mesh: Mesh) -> None:
    router = await mesh.join()
    runs = {await mesh.start(f"order-{n}", input=large(n)) for n in range(COUNT)}
    await mesh.start("signalled")
    for number in range(COUNT):
        await mesh.send("signalled", large(number))
    small = {await mesh.start(f"small-{n}") for n in range(2 * LANES_PER_QUEUE)}
    first = await router.read()
    assert small < {row.run_id for row in first}
    assert sum(len(row.frame) + len(row.input or b"") > ITEM_BYTES for row in first) in (4, 5)
    rows = first + await read_bounded(router, 2 * COUNT + 1 + len(small) - len(first))
    assert {row.run_id for row in rows} > runs | small
    assert len({(row.lane, row.id) for row in rows}) == len(rows)
    await router.acknowledge(rows)
    router.session.forget()
    assert await router.read() == []


async def test_no_message_passes_another_of_its_run(mesh: Mesh) -> None:
    router = await mesh.join()
    await mesh.start("other")
    run_id = await mesh.start("order", input=large(0))
    for number in range(1, COUNT):
        await mesh.send("other", large(number))
        await mesh.send("order", b"%02d" % number + bytes(number % 3 * ITEM_BYTES // 2))
    rows = await read_bounded(router, 2 * COUNT)
    starts, *events = [row for row in rows if row.run_id == run_id]
    assert number_of(starts.input) == 0
    assert [int(row.frame[:2]) for row in events] == list(range(1, COUNT))


async def test_what_is_very_large_waits_for_a_step_that_may_read_it(mesh: Mesh) -> None:
    router = await mesh.join()
    huge = os.urandom(LARGE_TURN_BYTES)
    start = await mesh.start("start", input=huge)
    await mesh.send("start", b"behind it")
    signalled = await mesh.start("signalled")
    await mesh.send("signalled", huge + b"1")
    await mesh.send("signalled", b"behind it too")
    for _ in range(2):
        router.session.forget()
        reply = await router.commit(room=500, size_max=LARGE_TURN_BYTES)
        assert [row[2] for row in reply.messages] == [signalled]
        assert reply.large_waits
        reply = await router.commit(room=500, size_max=LARGE_TURN_BYTES)
        assert list(reply.messages) == []
        assert reply.large_waits
        rows: list[MessageRow] = []
        waits = True
        while waits:
            reply = await router.commit(room=500)
            found = [MessageRow(*row) for row in reply.messages]
            assert sum(len(row.frame) + len(row.input or b"") > 100 for row in found) == 1
            rows, waits = rows + found, reply.large_waits
        rows += await router.read()
        by_run = {run: [row for row in rows if row.run_id == run] for run in (start, signalled)}
        assert by_run[start][0].input == huge
        assert [row.frame for row in by_run[start][1:]] == [b"behind it"]
        assert [row.frame for row in by_run[signalled]] == [huge + b"1", b"behind it too"]
        assert await router.read() == []
        assert not (await router.commit(room=500)).large_waits


async def test_what_waits_to_be_read_and_is_gone_holds_up_nothing(mesh: Mesh) -> None:
    router = await mesh.join()
    await mesh.start("order")
    await mesh.send("order", os.urandom(LARGE_TURN_BYTES + 1))
    await mesh.send("order", b"behind it")
    reply = await router.commit(room=500, size_max=LARGE_TURN_BYTES)
    assert reply.large_waits
    (began,) = [MessageRow(*row) for row in reply.messages]
    session = await mesh.backend.session(NAMESPACE, router.router_id, TIMER_HORIZON_MS)
    rows = [row for row in await replace(router, session=session).read_all(3) if row.id != began.id]
    await session.close()
    await router.acknowledge([began, rows[0]])
    assert [row.frame for row in await router.read()] == [b"behind it"]
    assert await router.read() == []


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
