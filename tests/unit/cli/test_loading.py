"""`module:object` becomes workflows and activities."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from hotmesh.cli.loading import load
from hotmesh.exceptions import InvalidArgumentError

MODULE = """
from hotmesh import activity, workflow

@workflow.defn
class Order:
    @workflow.run
    async def run(self) -> None: ...

@activity.defn
async def charge() -> None: ...

class Mail:
    @activity.defn
    def send(self) -> None: ...

mail = Mail()

async def plain_workflow() -> None: ...
async def plain_async() -> None: ...
def plain_activity() -> None: ...

everything = [Order, [charge, mail.send], Order]
nothing = 5
"""


@pytest.fixture(autouse=True)
def _modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    (tmp_path / "cli_sample.py").write_text(MODULE)
    (tmp_path / "cli_empty.py").write_text("x = 1\n")
    (tmp_path / "cli_broken.py").write_text("import cli_no_such_library\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "hotmesh.meshflow", raising=False)  # another test imported it
    path = list(sys.path)
    yield
    sys.path[:] = path
    for name in ("cli_sample", "cli_empty", "cli_broken"):
        sys.modules.pop(name, None)


def names(*objects: str, activities: tuple[str, ...] = ()) -> tuple[list[str], list[str]]:
    hosted = load(objects, activities)
    return (
        [each.__name__ for each in hosted.workflows],
        [each.__name__ for each in hosted.activities],
    )


def test_decorated_objects_say_what_they_are() -> None:
    assert names("cli_sample:Order", "cli_sample:charge") == (["Order"], ["charge"])


def test_a_module_gives_all_its_decorated_objects() -> None:
    assert names("cli_sample") == (["Order"], ["charge"])


def test_lists_may_nest_and_repeat() -> None:
    assert names("cli_sample:everything", "cli_sample:Order") == (["Order"], ["charge", "send"])


def test_a_method_of_an_object_is_found_by_its_path() -> None:
    assert names("cli_sample:mail.send") == ([], ["send"])


def test_plain_functions_go_by_how_they_are_declared() -> None:
    assert names("cli_sample:plain_workflow", "cli_sample:plain_activity") == (
        ["plain_workflow"],
        ["plain_activity"],
    )
    assert names("cli_sample:Order", activities=("cli_sample:plain_async",)) == (
        ["Order"],
        ["plain_async"],
    )


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("cli_no_such_module:x", "no module 'cli_no_such_module'"),
        ("cli_sample:Nothing", "has no 'Nothing'"),
        ("cli_sample:nothing", "neither a workflow nor an activity"),
        ("cli_empty", "nothing decorated"),
        (":x", "names no module"),
    ],
)
def test_what_can_not_be_hosted_is_named(name: str, reason: str) -> None:
    with pytest.raises(InvalidArgumentError, match=reason):
        load([name])


def test_a_module_that_misses_a_library_keeps_its_own_error() -> None:
    with pytest.raises(ModuleNotFoundError, match="cli_no_such_library"):
        load(["cli_broken"])
