"""Conditions on runs: each backend compares values, not texts, and never mixes types."""

import sys
from typing import Any

import orjson
import pytest

from conformance.mesh import NAMESPACE, Mesh
from hotmesh.backends.protocol import NoteItem, RunFilter
from hotmesh.limits import BATCH_BYTES_MAX
from hotmesh.visibility import AllOf, AnyOf, AttributeIs, Condition, Field, FieldIs

TEXTS = {
    "whole": "100",
    "real": "100.0",
    "power": "1e2",
    "text": '"100"',
    "true": "true",
    "word": '"true"',
    "null": "null",
    "list": '["a", "100", 100, true]',
    "nested": '[["a"]]',
    "object": '{"a": "a", "b": 100}',
    "quote": '"it\'s \\"so\\""',
    "umlaut": '"J\\u00fcrgen"',
    "case": '"A"',
    "nul": '"a\\u0000b"',
    "large": "9007199254740993",
}


async def matching(mesh: Mesh, where: Condition) -> set[str]:
    page = await mesh.backend.runs(RunFilter(NAMESPACE, where))
    assert not page.more
    return {row.workflow_id for row in page.rows}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (100, {"whole", "real", "power", "list"}),
        (100.0, {"whole", "real", "power", "list"}),
        ("100", {"text", "list"}),
        (True, {"true", "list"}),
        ("true", {"word"}),
        (1, set()),
        (None, {"null"}),
        ("a", {"list"}),
        ("A", {"case"}),
        ('it\'s "so"', {"quote"}),
        ("Jürgen", {"umlaut"}),
        (9007199254740993, {"large"}),
        (9007199254740992, set()),
        (["a", "100", 100, True], {"list"}),
        ({"b": 100, "a": "a"}, {"object"}),
        ("", set()),
        ("' OR 1 = 1 --", set()),
    ],
)
async def test_an_attribute_is_compared_by_value(
    mesh: Mesh, value: Any, expected: set[str]
) -> None:
    await mesh.backend.start(
        [mesh.start_item(n, attributes=[("x", t.encode())]) for n, t in TEXTS.items()]
    )
    await mesh.start("other", attributes=[("y", orjson.dumps(value))])
    if isinstance(value, dict):  # SQLite keeps the order in which the members were written
        value = {name: value[name] for name in sorted(value)}
    assert await matching(mesh, AttributeIs("x", value)) == expected


async def test_conditions_are_joined(mesh: Mesh) -> None:
    for number in range(4):
        await mesh.start(
            f"order-{number}",
            workflow_type="Even" if number % 2 == 0 else "Odd",
            attributes=[("n", b"%d" % number), ("kind", b'"order"')],
        )
    one, two = AttributeIs("n", 1), AttributeIs("n", 2.0)
    odd, even = FieldIs(Field.WORKFLOW_TYPE, "Odd"), FieldIs(Field.WORKFLOW_TYPE, "Even")
    order = AttributeIs("kind", "order")
    assert await matching(mesh, AnyOf((one, two))) == {"order-1", "order-2"}
    assert await matching(mesh, AllOf((one, two))) == set()
    assert await matching(mesh, AllOf((order, AnyOf((AllOf((one, odd)), even))))) == {
        "order-0",
        "order-1",
        "order-2",
    }
    assert await matching(mesh, FieldIs(Field.WORKFLOW_ID, "order-3")) == {"order-3"}
    assert await matching(mesh, AllOf((odd, FieldIs(Field.STATUS, 1)))) == {"order-1", "order-3"}
    assert await matching(mesh, FieldIs(Field.STATUS, 2)) == set()


async def test_runs_are_found_by_task_queue(mesh: Mesh) -> None:
    other = await mesh.backend.queue_id(NAMESPACE, "other")
    lane = other * 64 + mesh.lane_of("there") % 64
    await mesh.start("there", lane=lane)
    await mesh.start("here")
    assert await matching(mesh, FieldIs(Field.TASK_QUEUE, "other")) == {"there"}
    assert await matching(mesh, FieldIs(Field.TASK_QUEUE, "work")) == {"here"}
    assert await matching(mesh, FieldIs(Field.TASK_QUEUE, "nowhere")) == set()


async def test_the_names_in_records_are_told(mesh: Mesh) -> None:
    names = mesh.backend.attribute_names
    assert set(await names(NAMESPACE, ["a", "b"], 9)) == set()
    await mesh.start("one", attributes=[("a", b"1"), ("b c", b"2")])
    run_id = await mesh.start("two", attributes=[("a", b"3"), ("ü", b"4")])
    assert set(await names(NAMESPACE, ["a", "b"], 0)) == {"a"}
    assert set(await names(NAMESPACE, [], 9)) == {"a", "b c", "ü"}
    assert len(await names(NAMESPACE, [], 2)) == 2
    assert set(await names("elsewhere", ["a"], 9)) == set()
    await mesh.backend.note([NoteItem(NAMESPACE, run_id, "noted", b"1")])
    router = await mesh.join()
    kept = {"attribute_run": [run_id] * 2, "attribute_name": ["ü", "new"]}
    await router.commit(**kept, attribute_value=[b"", b"5"])
    assert set(await names(NAMESPACE, ["ü", "new", "noted"], 9)) == {"a", "b c", "new", "noted"}


async def test_names_go_with_their_last_run(mesh: Mesh) -> None:
    router = await mesh.join()
    for workflow_id in ("one", "two"):
        run_id = await mesh.start(workflow_id, attributes=[("both", b"1"), (workflow_id, b"2")])
        if workflow_id == "one":
            message = await router.read_all(1)
            await router.acknowledge(message)
            await router.close_run(run_id, mesh.lane_of("one"))
    await mesh.backend.prune(NAMESPACE, 0)
    found = await mesh.backend.attribute_names(NAMESPACE, ["one", "two", "both"], 9)
    assert set(found) == {"two", "both"}


async def test_a_name_that_many_runs_of_others_have_is_not_looked_for_among_all(
    mesh: Mesh, monkeypatch: pytest.MonkeyPatch
) -> None:
    lane = await mesh.backend.queue_id("elsewhere", "work") * 64
    for number in range(3):
        await mesh.start(f"w{number}", namespace="elsewhere", lane=lane, attributes=[("n", b"1")])
    assert set(await mesh.backend.attribute_names(NAMESPACE, ["n"], 9)) == set()
    module = sys.modules[type(mesh.backend).__module__]
    for name in (module.__name__, "hotmesh.backends.sqlite.visibility"):
        monkeypatch.setattr(sys.modules[name], "NAMED_RUNS_MAX", 3, raising=False)
    expected = set() if mesh.backend.name == "redis" else {"n"}  # Redis counts by namespace.
    assert set(await mesh.backend.attribute_names(NAMESPACE, ["n"], 0)) == expected


async def test_a_list_brings_so_many_bytes_and_no_inputs(mesh: Mesh) -> None:
    size = BATCH_BYTES_MAX // 3
    for number in range(5):
        await mesh.start(f"order-{number}", header=bytes([number]) * size, input=b"x" * 100)
    found: list[str] = []
    before, more = b"", True
    while more:
        rows, more = await mesh.backend.runs(RunFilter(NAMESPACE, before=before))
        assert sum(len(row.header) for row in rows[:-1]) < BATCH_BYTES_MAX
        assert {(row.input, row.result) for row in rows} <= {(b"", b"")}
        found += [row.workflow_id for row in rows]
        before = rows[-1].run_id if rows else b""
        assert rows or not more
    assert sorted(found) == [f"order-{number}" for number in range(5)]
