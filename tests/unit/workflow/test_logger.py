"""The logger of workflow code: it names the run, and is silent where a replay repeats."""

from __future__ import annotations

import logging
from types import ModuleType

import pytest

from hotmesh import workflow
from unit.engine.driving import Driven, answer, fired, query, update


async def code() -> None:
    workflow.logger.info("first", extra={"mine": 1})
    await workflow.sleep(1)
    workflow.logger.info("second")
    await workflow.sleep(1)


@pytest.fixture(autouse=True)
def _everything(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "hotmesh.workflow")


def test_a_record_names_its_run(caplog: pytest.LogCaptureFixture) -> None:
    Driven(code).start()
    (record,) = caplog.records
    assert record.getMessage().startswith("first ({'attempt': 1, 'namespace': 'n', 'run_id': ")
    fields = vars(record)
    assert (fields["workflow_id"], fields["namespace"], fields["task_queue"]) == ("w", "n", "q")
    assert (fields["workflow_type"], fields["mine"]) == ("code", 1)
    assert fields["temporal_workflow"]["workflow_id"] == "w"
    assert "workflow_info" not in fields


def test_a_replay_logs_nothing_again(caplog: pytest.LogCaptureFixture, core: ModuleType) -> None:
    run = Driven(code, core=core)
    run.start()
    caplog.clear()
    again = run.replayed()
    assert caplog.records == []
    again.give(fired(1), at=1)
    assert [record.getMessage().partition(" ")[0] for record in caplog.records] == ["second"]


def test_a_replay_logs_all_of_it_where_that_is_wanted(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Driven(code)
    run.start()
    monkeypatch.setattr(workflow.logger, "log_during_replay", True)
    run.replayed()
    assert len(caplog.records) == 2


def test_what_a_record_says_can_be_chosen(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workflow.logger, "workflow_info_on_message", False)
    monkeypatch.setattr(workflow.logger, "workflow_info_on_extra", False)
    monkeypatch.setattr(workflow.logger, "full_workflow_info_on_extra", True)
    Driven(code).start()
    (record,) = caplog.records
    assert record.getMessage() == "first"
    assert "temporal_workflow" not in vars(record)
    assert vars(record)["workflow_info"].workflow_id == "w"


def test_records_of_an_update_name_it(caplog: pytest.LogCaptureFixture) -> None:
    async def listens() -> None:
        workflow.set_update_handler("up", lambda: workflow.logger.info("handled"))
        await workflow.wait_condition(lambda: False)

    run = Driven(listens)
    run.start()
    run.give(update("up", id="7"))
    (record,) = caplog.records
    details = vars(record)["temporal_workflow"]
    assert (details["update_id"], details["update_name"]) == ("7", "up")


def test_a_query_of_a_replayed_run_is_no_replay(caplog: pytest.LogCaptureFixture) -> None:
    async def answers() -> None:
        workflow.set_query_handler("q", lambda: workflow.logger.info("asked"))
        await workflow.wait_condition(lambda: False)

    run = Driven(answers)
    run.start()
    again = run.replayed()
    again.give(query("q"))
    assert answer(again.replies[b"asked"]) is None
    assert len(caplog.records) == 1


def test_outside_a_workflow_it_is_a_plain_logger(caplog: pytest.LogCaptureFixture) -> None:
    adapter = workflow.LoggerAdapter(logging.getLogger("hotmesh.workflow"), {"always": 1})
    adapter.unsafe_disable_sandbox()
    assert adapter.disable_sandbox
    assert adapter.base_logger.name == "hotmesh.workflow"
    adapter.info("plain")
    (record,) = caplog.records
    assert (record.getMessage(), vars(record)["always"]) == ("plain", 1)
    assert not hasattr(record, "workflow_id")


def test_a_level_that_is_off_stays_off(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "hotmesh.workflow")
    Driven(code).start()
    assert caplog.records == []
