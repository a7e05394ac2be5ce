"""What only SQLite promises: several processes on one file, shared commits, odd files."""

import asyncio
import gc
import os
import sqlite3
import subprocess
import sys
import threading
import weakref
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, closing
from pathlib import Path

import pytest

from conformance.mesh import NAMESPACE, PATIENCE_S, Mesh
from conformance.test_hints import Listener
from hotmesh.backends.protocol import RunFilter
from hotmesh.backends.queue_ids import wanted_queue_id
from hotmesh.backends.registry import backend_for
from hotmesh.backends.sqlite import (
    SqliteBackend,
    done,
    reading,
    routers,
    statements,
    store,
    thread,
)
from hotmesh.backends.sqlite.connection import APPLICATION_ID, open_writer
from hotmesh.backends.sqlite.rows import Rows
from hotmesh.backends.sqlite.transaction import Row, Transaction
from hotmesh.client import _waiter
from hotmesh.exceptions import (
    BackendAccessError,
    BackendError,
    BackendUnavailableError,
    InvalidArgumentError,
)
from hotmesh.limits import LEASE_MS_MAX

START_MANY = """
import asyncio, sys
from conformance.mesh import Mesh
from hotmesh.backends.registry import backend_for

async def main() -> None:
    backend = backend_for(sys.argv[1])
    await backend.connect()
    mesh = await Mesh.over(backend)
    for number in range(int(sys.argv[2])):
        outcome = await mesh.start_one(mesh.start_item(f"order-{number}"))
        print(int(outcome.started), flush=True)
    await backend.close()

asyncio.run(main())
"""


def start_many_elsewhere(url: str, count: int) -> subprocess.Popen[str]:
    """Another process that starts runs and prints 1 for each that it won."""
    return subprocess.Popen(
        [sys.executable, "-c", START_MANY, url, str(count)],
        stdout=subprocess.PIPE,
        text=True,
        env={"PYTHONPATH": ":".join(sys.path), "PATH": ""},
    )


async def test_processes_compete_for_workflow_ids_and_one_wins_each(sqlite_url: str) -> None:
    processes = [start_many_elsewhere(sqlite_url, 40) for _ in range(3)]
    outputs = [await asyncio.to_thread(process.communicate) for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0]
    columns = [[int(line) for line in output.split()] for output, _ in outputs]
    assert [sum(row) for row in zip(*columns, strict=True)] == [1] * 40


async def test_a_commit_of_another_process_is_noticed(sqlite_url: str) -> None:
    backend = backend_for(sqlite_url)
    await backend.connect()
    mesh = await Mesh.over(backend)
    listener = Listener()
    await backend.listen(f"lanes:{mesh.queue_id}", listener)
    process = start_many_elsewhere(sqlite_url, 1)
    await listener.hears("the other process's payload does not reach this one")
    await asyncio.to_thread(process.communicate)
    router = await mesh.join()
    assert len(await router.read_all(1)) == 1
    await backend.close()


@asynccontextmanager
async def elsewhere(path: Path) -> AsyncIterator[Mesh]:
    """The same file as another process has it open: with connections of its own."""
    backend = SqliteBackend(f"sqlite:///{path}")
    backend._store = store.Store(str(path), store.wall_clock_ms)
    yield await Mesh.over(backend)
    await asyncio.to_thread(backend._store.close)


def path_of(url: str) -> Path:
    return Path(url.removeprefix("sqlite:///"))


async def heard(listener: Listener) -> str | None:
    return await asyncio.wait_for(listener.hints.get(), PATIENCE_S)


async def test_another_process_is_told_which_runs_and_replies_are_done(
    sqlite_url: str, tmp_path: Path
) -> None:
    backend = backend_for(sqlite_url)
    await backend.connect()
    closed, lanes = Listener(), Listener()
    await backend.listen("done:default", closed)
    await backend.listen("lanes:1", lanes)
    async with elsewhere(tmp_path / "hotmesh.db") as other:
        router = await other.join()
        assert await heard(closed) is None, "what was done before is not known"
        first, second = await other.start("first"), await other.start("second")
        await router.commit(
            close_run=[first, second],
            close_lane=[other.lane_of("first"), other.lane_of("second")],
            close_status=[2, 2],
            close_result=[b"1", b"2"],
            close_waits=[False, False],
            reply_id=[b"q" * 16, b"odd"],
            reply_data=[b"", b""],
        )
        told = ""
        while told.count(",") < 2:
            told += await heard(closed) or ""
        assert told == ",".join(key.hex() for key in (first, second, b"q" * 16))
        while not lanes.hints.empty():
            assert lanes.hints.get_nowait() is None
        # A commit that ends nothing wakes only those who wait for something else.
        await other.start("third")
        assert await heard(lanes) is None
        assert closed.hints.empty()
    await backend.close()


async def test_who_missed_what_was_done_is_told_to_look_at_everything(
    sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(done, "ROWS_KEPT", 2)
    with closing(open_writer(str(tmp_path / "hotmesh.db"))) as connection:
        reader = done.DoneReader()
        assert reader.news(connection) is None
        assert reader.news(connection) == ""

        def write(*numbers: int) -> None:
            tx = Transaction(connection, 0, writes=True)
            for number in numbers:
                done.write_done(tx, [bytes([number]) * 16], [])
            done.delete_old(tx)

        write(1, 2)
        assert reader.news(connection) == f"{'01' * 16},{'02' * 16}"
        write(3, 4, 5)
        assert reader.news(connection) is None
        assert reader.news(connection) == ""
        write(6)
        assert reader.news(connection) == "06" * 16
        reader.skip()
        write(7)
        assert reader.news(connection) is None
        write(8)
        assert reader.news(connection) == "08" * 16


async def test_a_client_looks_up_only_what_another_process_is_done_with(
    sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_waiter, "POLL_MIN_S", 600.0)
    monkeypatch.setattr(_waiter, "FIRST_LOOK_S", 600.0)
    backend = backend_for(sqlite_url)
    await backend.connect()
    fetches: list[list[bytes]] = []

    async def fetch(keys: Sequence[bytes]) -> _waiter.Fetched[bytes]:
        fetches.append(list(keys))
        rows = await backend.results(NAMESPACE, keys)
        return _waiter.Fetched([(key, result) for key, _, result in rows], False)

    waiter = _waiter.Waiter(backend, "done:default", fetch)
    async with elsewhere(tmp_path / "hotmesh.db") as other:
        router = await other.join()
        runs = [await other.start(f"order-{number}") for number in range(20)]
        waits = [asyncio.ensure_future(waiter.wait(run, fresh=True)) for run in runs]
        while not fetches:  # the first commit seen says nothing but "look"
            await other.start(os.urandom(8).hex())
            await asyncio.sleep(store.POLL_S)
        del fetches[:]
        for number, run in enumerate(runs):
            await router.close_run(run, other.lane_of(f"order-{number}"))
            await asyncio.wait_for(waits[number], PATIENCE_S)
        assert [key for keys in fetches for key in keys] == runs
    await waiter.close()
    await backend.close()


async def test_batches_that_wait_share_a_commit(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = backend_for(sqlite_url)
    await backend.connect()
    mesh = await Mesh.over(backend)
    groups: list[int] = []
    run_group = thread.DatabaseThread._run_group

    def counted(self, connection, jobs):
        groups.append(len(jobs))
        return run_group(self, connection, jobs)

    monkeypatch.setattr(thread.DatabaseThread, "_run_group", counted)
    gate = threading.Event()
    held = asyncio.ensure_future(backend._opened().write(lambda tx: gate.wait()))
    starts = [asyncio.ensure_future(mesh.start(f"order-{n}")) for n in range(10)]
    await asyncio.sleep(0)
    gate.set()
    await asyncio.gather(held, *starts)
    # Those that came while the first group was held up shared the next commit.
    assert sum(groups) == 11
    assert len(groups) <= 2
    await backend.close()


async def test_a_batch_that_fails_does_so_alone(sqlite_url: str) -> None:
    backend = backend_for(sqlite_url)
    await backend.connect()
    mesh = await Mesh.over(backend)
    good, bad = mesh.start_item("good"), mesh.start_item("bad", attributes=[("a", b"{not json")])
    outcomes = await asyncio.gather(
        backend.start([good]), backend.start([bad]), mesh.start("fine"), return_exceptions=True
    )
    assert outcomes[0] == [(True, good.run_id, 1)]
    assert isinstance(outcomes[1], BackendError)
    assert isinstance(outcomes[2], bytes)
    assert list(await backend.find([(NAMESPACE, "bad", b"")])) == [None]
    await backend.close()


async def test_a_batch_that_fails_alone_leaves_nothing(sqlite_url: str) -> None:
    backend = backend_for(sqlite_url)
    await backend.connect()
    mesh = await Mesh.over(backend)
    bad = mesh.start_item("bad", attributes=[("a", b"{not json")])
    with pytest.raises(BackendError):
        await backend.start([bad])
    assert list(await backend.find([(NAMESPACE, "bad", b"")])) == [None]
    assert await mesh.start("bad")
    router = await mesh.join()
    assert len(await router.read_all(1)) == 1
    await backend.close()


async def test_a_locked_file_is_waited_for(sqlite_url: str, tmp_path: Path) -> None:
    backend = backend_for(sqlite_url)
    await backend.connect()
    mesh = await Mesh.over(backend)
    with closing(sqlite3.connect(tmp_path / "hotmesh.db", isolation_level=None)) as stranger:
        stranger.execute("BEGIN IMMEDIATE")
        start = asyncio.ensure_future(mesh.start("order"))
        assert list(await backend.find([(NAMESPACE, "order", b"")])) == [None]
        assert not start.done()
        stranger.execute("COMMIT")
    assert await start
    await backend.close()


async def test_a_file_that_stays_locked_is_unavailable(
    sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(thread, "BUSY_TIMEOUT_MS", 20)
    backend = backend_for(sqlite_url)
    await backend.connect()
    mesh = await Mesh.over(backend)
    with closing(sqlite3.connect(tmp_path / "hotmesh.db", isolation_level=None)) as stranger:
        stranger.execute("BEGIN IMMEDIATE")
        with pytest.raises(BackendUnavailableError, match=r"hotmesh\.db"):
            await mesh.start("order")
        stranger.execute("COMMIT")
    assert await mesh.start("order")
    await backend.close()


async def test_the_tables_of_another_application_are_left_alone(
    sqlite_url: str, tmp_path: Path
) -> None:
    with closing(sqlite3.connect(tmp_path / "hotmesh.db")) as stranger:
        stranger.execute("CREATE TABLE run (id)")
    with pytest.raises(BackendError, match="another application"):
        await backend_for(sqlite_url).connect()


async def test_a_file_that_is_no_database_is_refused(sqlite_url: str, tmp_path: Path) -> None:
    (tmp_path / "hotmesh.db").write_bytes(b"not a database " * 100)
    with pytest.raises(BackendError, match=r"hotmesh\.db"):
        await backend_for(sqlite_url).connect()


async def test_a_failed_migration_leaves_no_trace(
    sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = statements.migrations()
    monkeypatch.setattr(statements, "migrations", lambda: [*good, ["CREATE TABLE broken"]])
    with pytest.raises(BackendError):
        await backend_for(sqlite_url).connect()
    monkeypatch.setattr(statements, "migrations", lambda: [*good, ["CREATE TABLE added (id)"]])
    backend = backend_for(sqlite_url)
    await backend.connect()
    await backend.close()
    with closing(sqlite3.connect(tmp_path / "hotmesh.db")) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (2,)
        assert connection.execute("PRAGMA application_id").fetchone() == (APPLICATION_ID,)
        assert connection.execute("SELECT count(*) FROM added").fetchone() == (0,)


async def test_an_old_schema_is_brought_forward(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = backend_for(sqlite_url)
    await backend.connect()
    run_id = await (await Mesh.over(backend)).start("order")
    await backend.close()
    newer = [*statements.migrations(), ["ALTER TABLE run ADD COLUMN colour TEXT"]]
    monkeypatch.setattr(statements, "migrations", lambda: newer)
    await backend.connect()
    (row,) = (await backend.runs(RunFilter(NAMESPACE))).rows
    assert row.run_id == run_id
    await backend.close()


async def test_memory_is_shared_until_the_last_one_closes() -> None:
    first, second = backend_for("sqlite://"), backend_for("sqlite://")
    await first.connect()
    await second.connect()
    await (await Mesh.over(first)).start("order")
    await first.close()
    (row,) = await second.find([(NAMESPACE, "order", b"")])
    assert row is not None
    await second.close()
    await first.connect()
    assert list((await first.runs(RunFilter(NAMESPACE))).rows) == []
    await first.close()


async def test_memory_is_shared_between_event_loops() -> None:
    backend = backend_for("sqlite://")
    await backend.connect()
    mesh = await Mesh.over(backend)
    listener = Listener()
    await backend.listen("lanes:1", listener)

    async def elsewhere() -> None:
        second = backend_for("sqlite://")
        await second.connect()
        await (await Mesh.over(second)).start("order")
        await second.notify([("lanes:1", "hello")])
        await second.close()

    await asyncio.to_thread(asyncio.run, elsewhere())
    assert await asyncio.wait_for(listener.hints.get(), 20) == "hello"
    router = await mesh.join()
    assert len(await router.read_all(1)) == 1
    await backend.close()


async def test_the_clock_is_an_argument() -> None:
    now = 1_000_000
    backend = SqliteBackend("sqlite://", clock=lambda: now)
    await backend.connect()
    mesh = await Mesh.over(backend)
    router = await mesh.join(lease_ms=5_000)
    heir = await mesh.join(lease_ms=50_000)
    assert router.last_beat.now_ms == 1_000_000
    now += 5_000
    assert (await heir.beat()).lanes == []
    now += 1
    assert len((await heir.beat()).lanes) == 64
    await backend.close()


async def test_what_nobody_comes_for_is_cleaned_up_in_time() -> None:
    now = 1_000_000
    backend = SqliteBackend("sqlite://", clock=lambda: now)
    await backend.connect()
    mesh = await Mesh.over(backend)
    silent = await mesh.join(lease_ms=1_000)
    router = await mesh.join(lease_ms=LEASE_MS_MAX)
    await router.commit(reply_id=[b"q" * 16], reply_data=[b"answer"])
    now += routers.REPLY_KEEP_MS
    await router.beat()
    assert len(await backend.routers(NAMESPACE)) == 2
    assert list(await backend.replies(NAMESPACE, [b"q" * 16])) == [(b"q" * 16, b"answer")]
    now += 1
    await router.beat()
    assert list(await backend.replies(NAMESPACE, [b"q" * 16])) == []
    now += routers.ROUTER_KEEP_MS
    await router.beat()
    assert [row.router_id for row in await backend.routers(NAMESPACE)] == [router.router_id]
    assert (await silent.step(room=1)).fenced
    await backend.close()


async def test_a_router_that_slept_for_days_hears_that_it_was_declared_dead() -> None:
    now = 1_000_000
    backend = SqliteBackend("sqlite://", clock=lambda: now)
    await backend.connect()
    mesh = await Mesh.over(backend)
    sleeper, heir = await mesh.join(lease_ms=1_000), await mesh.join(lease_ms=1_000)
    now += 3 * routers.ROUTER_KEEP_MS
    assert (await heir.beat()).alive
    assert not (await sleeper.beat()).alive
    await backend.close()


async def test_more_timers_than_one_read_takes_come_in_several(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(reading, "TIMERS_READ_MAX", 10)
    backend = backend_for("sqlite://")
    await backend.connect()
    mesh = await Mesh.over(backend)
    router = await mesh.join(horizon_ms=60_000)
    run_id, lane = await mesh.start("order"), mesh.lane_of("order")
    now = (await router.commit()).now_ms
    due = [now + number // 15 for number in range(100)]
    await router.commit(
        timer_lane=[lane] * 100, timer_due=due, timer_run=[run_id] * 100, timer_key=list(range(100))
    )
    reply = await router.commit(room=1)
    assert len(reply.timers) == 15
    timers = await router.timers(100)
    assert {timer.key for timer in timers} == set(range(100))
    await backend.close()


async def test_an_error_of_the_clock_reaches_the_caller_and_the_thread_goes_on() -> None:
    times: list[int] = []
    backend = SqliteBackend("sqlite://", clock=times.pop)
    await backend.connect()
    with pytest.raises(IndexError):
        await backend.queue_id(NAMESPACE, "work")
    times.append(1)
    assert await backend.queue_id(NAMESPACE, "work") == wanted_queue_id(NAMESPACE, "work")
    await backend.close()


async def test_a_relative_path_is_relative_to_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    backend = backend_for("sqlite:///my%20file.db")
    await backend.connect()
    await backend.close()
    assert (tmp_path / "my file.db").exists()


@pytest.mark.parametrize("url", ["sqlite://file.db", "sqlite:///a.db?mode=ro", "sqlite:///a#b"])
def test_a_url_that_names_no_file_is_refused(url: str) -> None:
    with pytest.raises(InvalidArgumentError, match=r"three slashes|no parameters.*mode"):
        backend_for(url)


async def test_what_was_submitted_before_closing_is_committed(sqlite_url: str) -> None:
    backend = backend_for(sqlite_url)
    await backend.connect()
    mesh = await Mesh.over(backend)
    starts = [asyncio.ensure_future(mesh.start(f"order-{n}")) for n in range(10)]
    await asyncio.sleep(0)
    await backend.close()
    await asyncio.gather(*starts)
    await backend.connect()
    assert len((await backend.runs(RunFilter(NAMESPACE))).rows) == 10
    await backend.close()


@pytest.mark.parametrize("column", ["message_id", "posted_timers", "clock_shift_ms"])
async def test_damage_that_is_no_runs_is_named(sqlite_url: str, column: str) -> None:
    backend = backend_for(sqlite_url)
    await backend.connect()
    mesh = await Mesh.over(backend)
    await mesh.start("before")
    with closing(sqlite3.connect(path_of(sqlite_url))) as database, database:
        database.execute(f"update state set {column} = 'damaged'")
    with pytest.raises(BackendError, match="table 'state' is damaged"):
        await mesh.start("after")
    await backend.close()


async def test_a_journal_gets_no_hole_where_the_content_is_restored_in_place(
    sqlite_url: str,
) -> None:
    """The file stays, and no beat has told the router yet."""
    async with elsewhere(path_of(sqlite_url)) as mesh:
        router = await mesh.join()
        runs = [await mesh.start(f"order-{number}") for number in range(3)]
        for seq in (0, 1):
            await router.commit(
                journal_run=runs, journal_seq=[seq] * 3, journal_frame=[f"{seq}".encode()] * 3
            )
        await router.commit(journal_run=runs[1:2], journal_seq=[2], journal_frame=[b"2"])
        with closing(sqlite3.connect(path_of(sqlite_url))) as foreign, foreign:
            foreign.execute("delete from journal where seq > 0")
        columns = {"journal_run": [runs[0]], "journal_seq": [2], "journal_frame": [b"2"]}
        assert list((await router.step(**columns)).stale) == [runs[1]]
        assert list((await router.step(**columns)).stale) == [runs[0]]
        assert await mesh.backend.journal(NAMESPACE, runs[0]) == [b"0"]


async def test_journals_that_a_session_has_written_are_not_looked_up(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """But for the newest of them, which answers for all."""
    looked_up: list[int] = []
    all_rows = Transaction.all_rows

    def counting(tx: Transaction, rows: Rows, columns: Sequence[Sequence[object]]) -> list[Row]:
        looked_up.append(len(columns[0]))
        return all_rows(tx, rows, columns)

    async with elsewhere(path_of(sqlite_url)) as mesh:
        router = await mesh.join()
        runs = [await mesh.start(f"order-{number}") for number in range(3)]
        monkeypatch.setattr(Transaction, "all_rows", counting)
        for seq in (0, 1, 2):
            if seq == 2:
                router.session.forget()
            await router.commit(journal_run=runs, journal_seq=[seq] * 3, journal_frame=[b"x"] * 3)
    assert looked_up == [3, 1, 3]


async def test_what_was_to_be_written_is_let_go_of_at_once(sqlite_url: str) -> None:
    """Not at the next collection: it may be large."""
    backend = SqliteBackend(sqlite_url)
    await backend.connect()
    kept: list[weakref.ref[set[int]]] = []

    async def write() -> None:
        batch = {1}
        kept.append(weakref.ref(batch))

        def work(tx: Transaction) -> int:
            tx.need_write()
            return len(batch)

        assert await backend._opened().look(work) == 1

    gc.collect()
    gc.disable()
    try:
        for _ in range(3):
            await write()
        await backend._opened().look(lambda tx: tx.now_ms)  # the thread has nothing else in hand
        assert [each() for each in kept] == [None] * 3
    finally:
        gc.enable()
        await backend.close()


async def test_a_folder_in_place_of_a_file_is_not_waited_for(tmp_path: Path) -> None:
    with pytest.raises(BackendAccessError, match="must be a file"):
        await backend_for(f"sqlite:///{tmp_path}").connect()


async def test_a_scheme_is_one_in_capitals_too(tmp_path: Path) -> None:
    for url in ("SQLITE://", f"SQLite:///{tmp_path / 'file.db'}"):
        backend = backend_for(url)
        await backend.connect()
        await backend.close()


def test_a_scheme_that_is_not_known_is_not_taken_for_a_far_one() -> None:
    with pytest.raises(InvalidArgumentError, match=r"Did you mean postgresql://\?"):
        backend_for("postgresq://host")
    for scheme in ("redis+cluster", "redis+unix", "mysql"):
        with pytest.raises(InvalidArgumentError) as caught:
            backend_for(f"{scheme}://host")
        assert "Did you mean" not in str(caught.value)
