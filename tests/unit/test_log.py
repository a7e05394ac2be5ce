"""Log records as lines for people and as JSON."""

import io
import json
import logging
from collections.abc import Iterator

import pytest

from hotmesh.log import JsonFormatter, PlainFormatter, configure

IDS = {"workflow_id": "order-1", "run_id": "r-1", "task_queue": "shop"}


@pytest.fixture(autouse=True)
def _root_logger_as_it_was() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


def record(message: str = "charged %s", **extra: object) -> logging.LogRecord:
    made = logging.LogRecord("hotmesh.workflow", logging.INFO, "f.py", 1, message, (7,), None)
    made.created = 1_700_000_000.25
    made.__dict__.update(extra)
    return made


def test_json_has_the_ids_as_fields_and_leaves_out_their_copies() -> None:
    line = JsonFormatter().format(record(**IDS, temporal_workflow=dict(IDS), amount=object))
    assert json.loads(line) == {
        "time": "2023-11-14T22:13:20.250+00:00",
        "level": "INFO",
        "logger": "hotmesh.workflow",
        "message": "charged 7",
        **IDS,
        "amount": "<class 'object'>",
    }


def test_plain_text_appends_the_ids() -> None:
    assert PlainFormatter().format(record(workflow_id="order-1", attempt=7)) == (
        "2023-11-14T22:13:20.250+00:00 INFO    hotmesh.workflow: "
        "charged 7 workflow_id=order-1 attempt=7"
    )


def test_plain_text_does_not_repeat_what_the_message_ends_with() -> None:
    made = record(f"charged %s ({IDS})", **IDS, temporal_workflow=IDS, amount=5)
    assert PlainFormatter().format(made).endswith(f"charged 7 ({IDS}) amount=5")


@pytest.mark.parametrize("formatter", [JsonFormatter(), PlainFormatter()])
def test_errors_come_with_their_traceback(formatter: logging.Formatter) -> None:
    made = record()
    try:
        raise ValueError("broken")
    except ValueError as error:
        made.exc_info = (ValueError, error, error.__traceback__)
    text = formatter.format(made)
    assert "Traceback" in text
    assert "ValueError: broken" in text


def test_configure_replaces_what_was_there() -> None:
    first, second = io.StringIO(), io.StringIO()
    configure("DEBUG", stream=first)
    configure("INFO", "json", second)
    logging.getLogger("hotmesh.test").debug("hidden")
    logging.getLogger("hotmesh.test").info("shown")
    assert first.getvalue() == ""
    assert json.loads(second.getvalue())["message"] == "shown"
