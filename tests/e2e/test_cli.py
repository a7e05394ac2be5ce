"""The command against a database file and a worker process, as a person in a shell uses it."""

import asyncio
import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from hotmesh.cli import main
from hotmesh.client import Client

SHOP = """
from datetime import timedelta

from hotmesh import activity, meshflow, workflow
from hotmesh.exceptions import ApplicationError


@activity.defn
def charge(amount: int) -> str:
    if amount < 0:
        raise ApplicationError("card refused", type="CardError", non_retryable=True)
    return f"paid {amount}"


@workflow.defn(name="order")
class Order:
    def __init__(self) -> None:
        self.note = ""

    @workflow.run
    async def run(self, amount: int) -> str:
        workflow.enrich({"stage": "waiting"})
        await workflow.wait_condition(lambda: bool(self.note))
        return await workflow.execute_activity(
            charge, amount, start_to_close_timeout=timedelta(seconds=10)
        )

    @workflow.signal
    def approve(self, note: str) -> None:
        self.note = note

    @workflow.update
    async def change(self, note: str) -> str:
        await workflow.wait_condition(lambda: note != "later" or bool(self.note))
        if note == "bad":
            raise ApplicationError("no such note", type="NoteError")
        return f"changed to {note}"

    @change.validator
    def check_change(self, note: str) -> None:
        if not note:
            raise ValueError("a note is empty")

    @workflow.query
    def state(self, prefix: str) -> str:
        return prefix + self.note


async def greet(name: str) -> str:
    return f"Hello, {name}!"


activities = meshflow.workflow.proxy_activities(activities=[greet])


async def welcome(name: str) -> str:
    return await activities.greet(name)
"""
TIMEOUT_S = 60


class Answer(NamedTuple):
    """What a command left behind."""

    code: int
    out: str
    error: str

    @property
    def document(self) -> Any:
        return json.loads(self.out)


Command = Callable[..., Answer]


class WorkerProcess:
    """`hotmesh worker` in a process of its own."""

    def __init__(self, directory: Path, url: str, *objects: str) -> None:
        self._log_path = directory / "worker.log"
        with self._log_path.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "hotmesh", "worker", *objects, "--url", url,
                 "--lease", "2 seconds", "--log-format", "json", "--log-level", "INFO"],
                cwd=directory, stdout=log, stderr=log,
            )  # fmt: skip

    def stop(self) -> int:
        """Ask it to stop and wait; its exit code."""
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(TIMEOUT_S)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait(TIMEOUT_S)

    def log(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self._log_path.read_text().splitlines()]


@pytest.fixture
def command(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Command:
    """Runs one command on the test's database, in this process."""
    monkeypatch.setenv("HOTMESH_URL", sqlite_url)

    def run(*words: str) -> Answer:
        capsys.readouterr()
        code = main(words)
        return Answer(code, *capsys.readouterr())

    return run


@pytest.fixture
def worker(tmp_path: Path, sqlite_url: str) -> Iterator[WorkerProcess]:
    (tmp_path / "cli_shop.py").write_text(SHOP)
    process = WorkerProcess(tmp_path, sqlite_url, "cli_shop", "cli_shop:welcome")
    yield process
    process.kill()


def test_a_workflow_from_start_to_result(command: Command, worker: WorkerProcess) -> None:
    started = command("start", "order", "--id", "o-1", "--arg", "7", "--json")
    assert started.code == 0
    assert started.document["workflow_id"] == "o-1"
    answer = command("query", "o-1", "state", "--arg", '"note: "', "--timeout", "30 s")
    assert answer.out == '"note: "\n'
    assert command("signal", "o-1", "approve", "--arg", '"fine"').code == 0
    assert command("result", "o-1", "--timeout", "30 s").out == '"paid 7"\n'

    described = command("describe", "o-1", "--json").document
    assert described["status"] == "Completed"
    assert described["result"] == "paid 7"
    assert described["record"] == {"stage": "waiting"}
    assert described["run_id"] == started.document["run_id"]

    steps = command("history", "o-1", "--json").document["transitions"]
    commands = [each["event"] for step in steps for each in step["commands"]]
    jobs = [(each["event"], each["values"]) for step in steps for each in step["jobs"]]
    assert commands == ["Enrich", "Activity", "Complete"]
    assert jobs == [("Start", [7]), ("Signal", ["fine"]), ("ActivityCompleted", ["paid 7"])]
    assert "ActivityCompleted" in command("history", "o-1").out


def test_a_failed_workflow_exits_with_1_and_says_why(
    command: Command, worker: WorkerProcess
) -> None:
    command("start", "order", "--id", "o-1", "--arg=-5")
    command("signal", "o-1", "approve", "--arg", '"x"')
    failed = command("result", "o-1", "--timeout", "30 s")
    assert failed.code == 1
    assert failed.out == ""
    assert failed.error.count("\n") == 1
    assert "ActivityError: Activity task failed (charge)" in failed.error
    assert "CardError: card refused" in failed.error

    failure = command("result", "o-1", "--json").document["failure"]
    assert failure["cause"]["type"] == "CardError"
    assert "card refused" in command("describe", "o-1").out
    assert "card refused" in command("history", "o-1").out


def test_a_function_of_the_other_face_finds_its_activities(
    command: Command, worker: WorkerProcess
) -> None:
    answer = command("start", "welcome", "--arg", '"Ann"', "--wait", "--json", "--timeout", "30 s")
    assert answer.document["result"] == "Hello, Ann!"


def test_every_backend_serves_the_commands(
    database_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def document(*words: str) -> Any:
        assert main([*words, "--url", database_url, "--json"]) == 0
        return json.loads(capsys.readouterr().out)

    (tmp_path / "cli_shop.py").write_text(SHOP)
    worker = WorkerProcess(tmp_path, database_url, "cli_shop:welcome")
    try:
        started = document("start", "welcome", "--id", "w-1", "--arg", '"Ann"', "--wait")
        assert started["result"] == "Hello, Ann!"
        assert document("list")[0]["status"] == "Completed"
        assert document("describe", "w-1")["result"] == "Hello, Ann!"
        steps = document("history", "w-1")["transitions"]
        assert [each["event"] for each in steps[-1]["commands"]] == ["Complete"]
        assert [each["lanes"] for each in document("routers")] == [64]
        assert worker.stop() == 0
        assert [each for each in document("routers") if each["alive"]] == []
        assert document("prune", "--older-than", "0") == {"deleted": 1}
        assert document("list") == []
    finally:
        worker.kill()


def test_cancel_and_terminate_close_a_workflow(command: Command, worker: WorkerProcess) -> None:
    for name in ("o-1", "o-2"):
        command("start", "order", "--id", name, "--arg", "1")
    assert command("cancel", "o-1", "--reason", "no stock").code == 0
    assert command("terminate", "o-2", "--reason", "by hand").code == 0
    assert "CancelledError" in command("result", "o-1", "--timeout", "30 s").error
    assert "TerminatedError: by hand" in command("result", "o-2", "--timeout", "30 s").error
    listed = command("list", "--json").document
    assert {each["workflow_id"]: each["status"] for each in listed} == {
        "o-1": "Canceled",
        "o-2": "Terminated",
    }
    found = command("list", "--query", "ExecutionStatus = 'Terminated'")
    assert "o-2" in found.out
    assert "o-1" not in found.out


def test_an_update_gives_its_result(command: Command, worker: WorkerProcess) -> None:
    command("start", "order", "--id", "o-1", "--arg", "7")
    answer = command("update", "o-1", "change", "--arg", '"a"', "--timeout", "30 s")
    assert answer == Answer(0, '"changed to a"\n', "")
    document = command("update", "o-1", "change", "--arg", '"b"', "--json").document
    assert (document["workflow_id"], document["result"]) == ("o-1", "changed to b")


def test_an_update_that_was_only_accepted_gives_its_result_later(
    command: Command, worker: WorkerProcess
) -> None:
    command("start", "order", "--id", "o-1", "--arg", "7")
    words = ("update", "o-1", "change", "--arg", '"later"', "--update-id", "u-1")
    accepted = command(*words, "--no-wait")
    assert (accepted.code, accepted.error) == (0, "")
    assert "'u-1'" in accepted.out
    assert command(*words, "--no-wait", "--json").document == {
        "workflow_id": "o-1",
        "update_id": "u-1",
        "accepted": True,
    }
    late = command(*words, "--timeout", "100 ms")
    assert (late.code, late.out) == (1, "")
    assert "waiting for update" in late.error

    # A change of its own makes the workflow look at what the first one waits for.
    command("signal", "o-1", "approve", "--arg", '"fine"')
    command("result", "o-1", "--timeout", "30 s")
    assert "changed to later" in command("history", "o-1").out


@pytest.mark.parametrize("flags", [[], ["--no-wait"]])
@pytest.mark.parametrize(
    ("note", "says", "kind"),
    [("", "ValueError: a note is empty", "ValueError"), ("bad", "no such note", "NoteError")],
)
def test_an_update_that_fails_says_why(
    command: Command,
    worker: WorkerProcess,
    note: str,
    says: str,
    kind: str,
    flags: list[str],
) -> None:
    command("start", "order", "--id", "o-1", "--arg", "7")
    words = ("update", "o-1", "change", "--arg", json.dumps(note), *flags)
    if note and flags:
        assert command(*words).code == 0  # It is accepted, and fails after that.
        return
    answer = command(*words)
    assert (answer.code, answer.out) == (1, "")
    assert says in answer.error
    assert command(*words, "--json").document["failure"]["type"] == kind


@pytest.mark.parametrize(
    ("words", "by_code"),
    [
        (["signal", "o-1", "approve", "--arg", '"x"'], True),
        (["cancel", "o-1"], True),
        (["terminate", "o-1"], False),
    ],
)
def test_what_nobody_takes_up_says_so_and_what_to_do(
    command: Command, tmp_path: Path, sqlite_url: str, words: list[str], by_code: bool
) -> None:
    command("start", "order", "--id", "o-1", "--arg", "1")
    waits = "No worker is running for its task queue 'default'."
    answer = command(*words)
    assert answer.code == 0
    assert waits in answer.out
    assert "start a worker of 'default'" in answer.out
    assert ("hosts 'order'" in answer.out) == by_code
    assert command(*words, "--json").document["waits"].startswith(waits)

    # A worker without the type takes up what needs no code.
    (tmp_path / "cli_shop.py").write_text(SHOP)
    process = WorkerProcess(tmp_path, sqlite_url, "cli_shop:welcome")
    try:
        command("start", "welcome", "--arg", '"A"', "--wait", "--timeout", "30 s")
        command("start", "order", "--id", "o-2", "--arg", "1")
        answer = command(words[0], "o-2", *words[2:])
        assert ("hosts its type 'order'" in answer.out) == by_code
    finally:
        process.kill()


def test_what_is_taken_up_says_no_more(command: Command, worker: WorkerProcess) -> None:
    command("start", "order", "--id", "o-1", "--arg", "1")
    command("query", "o-1", "state", "--arg", '""')
    sent = command("signal", "o-1", "approve", "--arg", '"x"', "--json")
    assert sent.document == {"workflow_id": "o-1", "sent": True}


def test_an_update_that_nobody_takes_up_says_why(command: Command) -> None:
    command("start", "order", "--id", "o-1", "--arg", "1")
    answer = command("update", "o-1", "change", "--arg", '"a"', "--timeout", "100 ms")
    assert (answer.code, answer.out) == (1, "")
    assert "No worker is running for its task queue 'default'" in answer.error


def test_a_worker_stops_in_good_order(command: Command, worker: WorkerProcess) -> None:
    command("start", "welcome", "--arg", '"Ann"', "--wait", "--timeout", "30 s")
    found = command("routers", "--json").document
    assert [(each["task_queue"], each["alive"], each["lanes"]) for each in found] == [
        ("default", True, 64)
    ]
    assert worker.stop() == 0
    assert command("routers", "--json").document == []
    messages = [each["message"] for each in worker.log()]
    assert messages[0].startswith("Serving task queue 'default'")
    assert messages[-1].startswith("Stopping")


def test_closed_workflows_are_pruned_and_open_ones_kept(
    command: Command, worker: WorkerProcess
) -> None:
    command("start", "welcome", "--id", "w-1", "--arg", '"Ann"', "--wait", "--timeout", "30 s")
    command("start", "order", "--id", "o-1", "--arg", "1")
    assert command("prune", "--older-than", "1 hour", "--json").document == {"deleted": 0}
    assert command("prune", "--older-than", "0", "--json").document == {"deleted": 1}
    listed = command("list", "--json").document
    assert [each["workflow_id"] for each in listed] == ["o-1"]


def test_what_is_wrong_in_what_is_stored_is_listed(command: Command, sqlite_url: str) -> None:
    command("start", "order", "--id", "o-1", "--arg", "1")
    fine = command("check", "--pause", "0")
    assert (fine.code, fine.out.strip()) == (0, "Nothing is wrong.")
    with closing(sqlite3.connect(sqlite_url.removeprefix("sqlite:///"))) as connection:
        connection.execute("DELETE FROM stream")
        connection.commit()
    found = command("check", "--pause", "0", "--json")
    assert found.code == 1
    (problem,) = found.document
    assert problem["workflow_id"] == "o-1"
    assert "nothing will start it" in problem["what"]
    assert "o-1" in command("check", "--pause", "0").out


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["describe", "nobody"], ["nobody", "hotmesh list"]),
        (["signal", "nobody", "s"], ["nobody", "hotmesh list"]),
        (["update", "nobody", "u"], ["nobody", "hotmesh list"]),
        (["result", "nobody"], ["nobody", "hotmesh list"]),
        (["start", "order", "--id", ""], ["id"]),
        (["list", "--query", "x > 3"], ["x >", "not supported"]),
        (["list", "--url", "mysql://host/db"], ["mysql", "sqlite://"]),
        (["worker", "cli_no_such_module"], ["cli_no_such_module", "module:object"]),
        (["worker", "json:dumps"], ["dumps", "keyword-only"]),
        (["list", "--url", "sqlite:////no/such/directory/x.db"], ["/no/such/directory/x.db"]),
    ],
)
def test_a_mistake_is_one_line_that_names_it(
    command: Command, words: list[str], parts: list[str]
) -> None:
    command("start", "order", "--id", "somebody")
    answer = command(*words)
    assert answer.code == 1
    assert answer.out == ""
    assert [part for part in parts if part not in answer.error.splitlines()[-1]] == []


def test_an_id_that_is_taken_is_refused(command: Command) -> None:
    assert command("start", "order", "--id", "o-1").code == 0
    answer = command("start", "order", "--id", "o-1")
    assert answer.code == 1
    assert "'o-1' exists already" in answer.error


def test_namespaces_do_not_see_each_other(command: Command) -> None:
    command("start", "order", "--id", "o-1", "--namespace", "one")
    assert "o-1" in command("list", "--namespace", "one").out
    assert command("list", "--namespace", "two").out == "No workflow matches.\n"


async def make(url: str) -> None:
    """Make a database."""
    async with await Client.connect(url):
        pass


def test_the_module_is_the_command(sqlite_url: str) -> None:
    asyncio.run(make(sqlite_url))
    done = subprocess.run(
        [sys.executable, "-m", "hotmesh", "list", "--json"],
        env={**os.environ, "HOTMESH_URL": sqlite_url},
        capture_output=True, text=True, check=True, timeout=TIMEOUT_S,
    )  # fmt: skip
    assert json.loads(done.stdout) == []


def test_a_reader_that_leaves_is_no_error(sqlite_url: str) -> None:
    asyncio.run(make(sqlite_url))
    process = subprocess.Popen(
        [sys.executable, "-m", "hotmesh", "list"],
        env={**os.environ, "HOTMESH_URL": sqlite_url},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    process.stdout.close()
    _, error = process.communicate(timeout=TIMEOUT_S)
    assert (process.returncode, error) == (0, "")


@pytest.mark.parametrize("core", ["no-core", "rust"])
def test_a_core_that_is_not_there_is_one_line(core: str, tmp_path: Path) -> None:
    # Any module that can't be imported stands for an extension that was not built.
    hidden = "import sys; sys.modules['hotmesh._core'] = None\n"
    program = hidden + "from hotmesh.cli import main; sys.exit(main(['core-info']))"
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "HOTMESH_CORE": core},
        capture_output=True, text=True, check=False, timeout=TIMEOUT_S, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.startswith("hotmesh: HOTMESH_CORE=")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("url", "missing", "extra"),
    [
        ("postgresql://host/db", "asyncpg", "postgres"),
        ("redis://host", "redis", "redis"),
        ("rediss://host", "hiredis", "redis"),
    ],
)
def test_a_missing_extra_is_one_line_that_says_what_to_install(
    url: str, missing: str, extra: str
) -> None:
    program = (
        f"import sys; sys.modules[{missing!r}] = None\n"
        f"from hotmesh.cli import main; sys.exit(main(['list', '--url', {url!r}]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True, text=True, check=False, timeout=TIMEOUT_S,
    )  # fmt: skip
    assert done.returncode == 1
    assert f"pip install 'hotmesh[{extra}]'" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "words",
    [
        ["list"],
        ["describe", "w"],
        ["history", "w"],
        ["result", "w"],
        ["query", "w", "q"],
        ["signal", "w", "s"],
        ["update", "w", "u"],
        ["cancel", "w"],
        ["terminate", "w"],
        ["routers"],
        ["prune", "--older-than", "1 day"],
    ],
)
def test_a_command_that_needs_a_database_makes_none(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "missing.db"
    assert main([*words, "--url", f"sqlite:///{file}"]) == 1
    assert "no HotMesh database" in capsys.readouterr().err
    assert not file.exists()
