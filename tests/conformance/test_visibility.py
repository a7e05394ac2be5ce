"""Looking at runs from outside: find, list, results, attributes; pruning and expiry."""

import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from conformance.mesh import NAMESPACE, Mesh, Router, new_run_id, until
from hotmesh.backends.protocol import RunFilter, RunRow, RunStatus
from hotmesh.backends.registry import backend_for
from hotmesh.visibility import AttributeIs, Condition, Field, FieldIs, all_of
from support.table_flips import damage


def condition(
    workflow_id: str = "",
    workflow_type: str = "",
    status: int = 0,
    attributes: Mapping[str, Any] = MappingProxyType({}),
) -> Condition | None:
    terms: list[Condition] = [AttributeIs(name, value) for name, value in attributes.items()]
    if workflow_id:
        terms.append(FieldIs(Field.WORKFLOW_ID, workflow_id))
    if workflow_type:
        terms.append(FieldIs(Field.WORKFLOW_TYPE, workflow_type))
    if status:
        terms.append(FieldIs(Field.STATUS, status))
    return all_of(terms)


async def ids(
    mesh: Mesh, *, namespace: str = NAMESPACE, limit: int = 100, **terms: Any
) -> list[str]:
    page = await mesh.backend.runs(RunFilter(namespace, condition(**terms), limit=limit))
    return [row.workflow_id for row in page.rows]


async def found(mesh: Mesh, workflow_id: str, run_id: bytes = b"") -> RunRow | None:
    (row,) = await mesh.backend.find([(NAMESPACE, workflow_id, run_id)])
    return row


async def end(mesh: Mesh, router: Router, workflow_id: str, run_id: bytes, status: int = 2) -> None:
    reply = await router.close_run(run_id, mesh.lane_of(workflow_id), status=status)
    assert not reply.fenced
    assert not reply.refused


async def record(router: Router, run_id: bytes, **values: bytes) -> None:
    await router.commit(
        attribute_run=[run_id] * len(values),
        attribute_name=list(values),
        attribute_value=list(values.values()),
    )


async def test_an_open_run_is_found_with_everything(mesh: Mesh) -> None:
    run_id = await mesh.start("order")
    row = await found(mesh, "order")
    assert row is not None
    lane = mesh.lane_of("order")
    assert row[:7] == (run_id, NAMESPACE, "order", "Order", lane, "work", RunStatus.RUNNING)
    assert row[7:11] == (b"header", b"input", b"", b"{}")
    assert row.started_ms > 1_700_000_000_000
    assert (row.closed_ms, row.transitions) == (0, 0)


async def test_a_closed_run_is_found_with_its_end(mesh: Mesh) -> None:
    router = await mesh.join()
    run_id = await mesh.start("order")
    await router.commit(journal_run=[run_id] * 2, journal_seq=[0, 1], journal_frame=[b"a", b"b"])
    await end(mesh, router, "order", run_id, RunStatus.FAILED)
    row = await found(mesh, "order", run_id)
    assert row is not None
    assert (row.status, row.result, row.transitions) == (RunStatus.FAILED, b"r", 2)
    assert row.closed_ms >= row.started_ms


async def test_runs_that_do_not_exist_are_not_found(mesh: Mesh) -> None:
    run_id = await mesh.start("order")
    keys = [
        (NAMESPACE, "nobody", b""),
        (NAMESPACE, "order", new_run_id()),
        (NAMESPACE, "bill", run_id),
        (NAMESPACE, "order", run_id),
    ]
    rows = await mesh.backend.find(keys)
    assert [row and row.run_id for row in rows] == [None, None, None, run_id]


async def test_results_tell_the_closed_from_the_open_and_the_missing(mesh: Mesh) -> None:
    router = await mesh.join()
    open_run = await mesh.start("open")
    closed = await mesh.start("closed")
    missing = new_run_id()
    await end(mesh, router, "closed", closed)
    results = await mesh.backend.results(NAMESPACE, [open_run, closed, missing])
    assert sorted(tuple(result) for result in results) == sorted(
        [(closed, 2, b"r"), (missing, 0, b"")]
    )
    assert list(await mesh.backend.results(NAMESPACE, [])) == []


async def test_a_run_is_closed_once(mesh: Mesh) -> None:
    router = await mesh.join()
    run_id = await mesh.start("order")
    await end(mesh, router, "order", run_id, RunStatus.FAILED)
    await router.close_run(run_id, mesh.lane_of("order"), status=2, result=b"other")
    assert [tuple(row) for row in await mesh.backend.results(NAMESPACE, [run_id])] == [
        (run_id, 3, b"r")
    ]


async def test_runs_are_listed_newest_first_page_by_page(mesh: Mesh) -> None:
    names = [f"order-{n}" for n in range(7)]
    await mesh.backend.start([mesh.start_item(name) for name in names])
    newest_first = names[::-1]
    assert await ids(mesh) == newest_first
    listed: list[str] = []
    before = b""
    more = True
    while more:
        rows, more = await mesh.backend.runs(RunFilter(NAMESPACE, before=before, limit=3))
        assert len(rows) == (3 if more else 1)
        listed += [row.workflow_id for row in rows]
        before = rows[-1].run_id
    assert listed == newest_first


async def test_a_page_says_exactly_whether_there_is_more(mesh: Mesh) -> None:
    await mesh.backend.start([mesh.start_item(f"order-{n}") for n in range(3)])
    await mesh.start("other", workflow_type="Other")
    where = condition(workflow_type="Order")
    for limit in (1, 2, 3, 4):
        page = await mesh.backend.runs(RunFilter(NAMESPACE, where, limit=limit))
        assert (len(page.rows), page.more) == (min(limit, 3), limit < 3)


async def test_runs_are_filtered(mesh: Mesh) -> None:
    router = await mesh.join()
    first = await mesh.start("order")
    await end(mesh, router, "order", first)
    await mesh.start("order", workflow_type="Other")
    await mesh.start("bill")
    assert await ids(mesh) == ["bill", "order", "order"]
    assert await ids(mesh, workflow_id="order") == ["order", "order"]
    assert await ids(mesh, workflow_type="Order") == ["bill", "order"]
    assert await ids(mesh, status=RunStatus.RUNNING) == ["bill", "order"]
    assert await ids(mesh, status=RunStatus.COMPLETED) == ["order"]
    assert await ids(mesh, status=RunStatus.FAILED) == []
    assert await ids(mesh, status=RunStatus.RUNNING, workflow_type="Order") == ["bill"]
    assert await ids(mesh, status=RunStatus.COMPLETED, workflow_id="order") == ["order"]
    assert await ids(mesh, namespace="elsewhere") == []


async def test_filters_apply_before_the_limit(mesh: Mesh) -> None:
    await mesh.start("wanted", workflow_type="Rare")
    await mesh.backend.start([mesh.start_item(f"order-{n}") for n in range(20)])
    assert await ids(mesh, workflow_type="Rare", limit=5) == ["wanted"]


async def test_runs_are_found_by_attribute(mesh: Mesh) -> None:
    router = await mesh.join()
    red = await mesh.start("red", attributes=[("color", b'"red"'), ("size", b"1")])
    blue = await mesh.start("blue")
    await record(router, blue, color=b'"blue"', size=b"1")
    assert await ids(mesh, attributes={"color": "red"}) == ["red"]
    assert await ids(mesh, attributes={"size": 1}) == ["blue", "red"]
    assert await ids(mesh, attributes={"size": 1, "color": "blue"}) == ["blue"]
    assert await ids(mesh, attributes={"shape": 1}) == []
    await record(router, red, color=b'"green"')
    assert await ids(mesh, attributes={"color": "red"}) == []


async def test_listed_runs_carry_their_attributes(mesh: Mesh) -> None:
    await mesh.start("order", attributes=[("a", b"[1, 2]"), ("b", b'{"c": null}')])
    (row,) = (await mesh.backend.runs(RunFilter(NAMESPACE))).rows
    assert json.loads(row.attributes) == {"a": [1, 2], "b": {"c": None}}
    assert (row.task_queue, row.transitions) == ("work", 0)


async def test_attributes_are_merged_replaced_and_removed(mesh: Mesh) -> None:
    router = await mesh.join()
    run_id = await mesh.start("order", attributes=[("a", b"1"), ("b", b"2")])
    await record(router, run_id, b=b'"two"', c=b"null")
    await record(router, run_id, a=b"")
    await record(router, run_id, never=b"")
    await router.commit(
        attribute_run=[run_id] * 4,
        attribute_name=["d", "d", "e", "e"],
        attribute_value=[b"1", b"2", b"1", b""],
    )
    row = await found(mesh, "order")
    assert row is not None
    assert json.loads(row.attributes) == {"b": "two", "c": None, "d": 2}
    (loaded,) = (await router.session.load([run_id])).runs
    assert json.loads(loaded.attributes) == {"b": "two", "c": None, "d": 2}


async def test_attributes_of_several_runs_in_one_step(mesh: Mesh) -> None:
    router = await mesh.join()
    runs = [await mesh.start(f"order-{n}") for n in range(3)]
    await router.commit(
        attribute_run=[runs[0], runs[1], runs[0]],
        attribute_name=["a", "a", "b"],
        attribute_value=[b"0", b"1", b"true"],
    )
    rows = [await found(mesh, f"order-{n}") for n in range(3)]
    assert [row and json.loads(row.attributes) for row in rows] == [
        {"a": 0, "b": True},
        {"a": 1},
        {},
    ]


async def test_attribute_names_and_values_may_be_anything(mesh: Mesh) -> None:
    router = await mesh.join()
    run_id = await mesh.start("order")
    odd = {"": 1, "a.b": "x", 'quo"te': "\\", "$": {"ü": "\u2028"}, "z" * 200: "w" * 5000}
    for name, value in odd.items():
        await router.commit(
            attribute_run=[run_id],
            attribute_name=[name],
            attribute_value=[json.dumps(value).encode()],
        )
    row = await found(mesh, "order")
    assert row is not None
    assert json.loads(row.attributes) == odd


async def test_pruning_deletes_old_closed_runs_with_their_journals(mesh: Mesh) -> None:
    router = await mesh.join()
    closed = await mesh.start("closed", attributes=[("a", b"1")])
    await router.commit(journal_run=[closed], journal_seq=[0], journal_frame=[b"a"])
    await end(mesh, router, "closed", closed)
    await mesh.start("open")
    assert await mesh.backend.prune(NAMESPACE, 3_600_000) == 0
    assert await mesh.backend.prune("elsewhere", 0) == 0
    assert await mesh.backend.prune(NAMESPACE, 0) == 1
    assert await found(mesh, "closed") is None
    assert list(await mesh.backend.journal(NAMESPACE, closed)) == []
    assert list((await router.session.load([closed])).runs) == []
    assert [tuple(row) for row in await mesh.backend.results(NAMESPACE, [closed])] == [
        (closed, 0, b"")
    ]
    assert await ids(mesh) == ["open"]
    assert await mesh.start("closed", attributes=[]) != closed
    row = await found(mesh, "closed")
    assert row is not None
    assert row.attributes == b"{}"


async def test_pruning_an_old_run_leaves_the_newer_one_of_its_id(mesh: Mesh) -> None:
    router = await mesh.join()
    first = await mesh.start("order")
    await end(mesh, router, "order", first)
    second = await mesh.start("order")
    assert await mesh.backend.prune(NAMESPACE, 0) == 1
    row = await found(mesh, "order")
    assert row is not None
    assert row.run_id == second
    assert not (await mesh.start_one(mesh.start_item("order"))).started


async def test_pruning_many_runs_counts_them(mesh: Mesh) -> None:
    router = await mesh.join()
    items = [mesh.start_item(f"order-{n}") for n in range(1_100)]
    for at in range(0, len(items), 550):
        part = items[at : at + 550]
        await mesh.backend.start(part)
        await router.commit(
            close_run=[item.run_id for item in part],
            close_lane=[item.lane for item in part],
            close_status=[2] * len(part),
            close_result=[b""] * len(part),
            close_waits=[False] * len(part),
        )
    assert await mesh.backend.prune(NAMESPACE, 0) == 1_100
    assert await ids(mesh) == []


async def test_a_run_that_expires_at_once_is_deleted_by_a_beat(mesh: Mesh) -> None:
    router = await mesh.join()
    brief = await mesh.start("brief", expire_s=0)
    kept = await mesh.start("kept", expire_s=3_600)
    forever = await mesh.start("forever")
    await end(mesh, router, "brief", brief)
    await end(mesh, router, "kept", kept)
    await end(mesh, router, "forever", forever)

    async def gone() -> bool:
        await router.beat()
        return await found(mesh, "brief") is None

    await until(gone)
    assert await ids(mesh) == ["forever", "kept"]
    assert (await mesh.start_one(mesh.start_item("brief"))).started


async def test_a_run_is_kept_whose_time_to_be_kept_is_damaged(stored_url: str) -> None:
    """Postgres can't be given what is no number of seconds."""
    backend = backend_for(stored_url)
    await backend.connect()
    mesh = await Mesh.over(backend)
    try:
        router = await mesh.join()
        run_id = await mesh.start("order", expire_s=3_600)
        assert await damage(stored_url, ("run", STORED_EXPIRY[backend.name])) == 1
        await end(mesh, router, "order", run_id)
        await router.beat()
        await router.beat()
        row = await found(mesh, "order")
        assert row is not None
        assert row.status == RunStatus.COMPLETED
    finally:
        await mesh.close()
        await backend.close()


STORED_EXPIRY = {"sqlite": "expire_s", "postgres": "expire_s", "redis": "x"}


async def test_an_open_run_does_not_expire(mesh: Mesh) -> None:
    router = await mesh.join()
    run_id = await mesh.start("order", expire_s=0)
    await router.beat()
    await router.beat()
    row = await found(mesh, "order")
    assert row is not None
    assert (row.run_id, row.status) == (run_id, RunStatus.RUNNING)
