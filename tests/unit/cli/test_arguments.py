"""Words of the command line become values, or exit code 2 with a reason."""

import argparse
import json

import pytest

from hotmesh.cli import main
from hotmesh.cli.arguments import at_least, json_value, seconds


def test_values_are_json() -> None:
    assert [json_value(text) for text in ('"a"', "1", "[null]")] == ["a", 1, [None]]


def test_bare_text_is_refused_with_the_way_to_write_it() -> None:
    with pytest.raises(argparse.ArgumentTypeError, match=r"""'"it's"'"""):
        json_value("it's")


def test_durations_are_read_like_everywhere() -> None:
    assert seconds("1h 30m") == 5400
    with pytest.raises(argparse.ArgumentTypeError, match="soon"):
        seconds("soon")


def test_numbers_have_a_least_value() -> None:
    assert at_least(1)("1") == 1
    for text in ("0", "x", "1.5"):
        with pytest.raises(argparse.ArgumentTypeError, match="1 or more"):
            at_least(1)(text)


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ([], "COMMAND"),
        (["fly"], "fly"),
        (["start"], "TYPE"),
        (["start", "order", "--arg", "abc"], "JSON"),
        (["list", "--limit", "0"], "1 or more"),
        (["prune"], "--older-than"),
        (["worker"], "module:object"),
        (["worker", "m:o", "--lease", "1 ms"], "1000 ms"),
        (["worker", "m:o", "--lease", "2 h"], "3600000 ms at most"),
    ],
)
def test_a_wrong_command_line_exits_with_2(
    words: list[str], reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as exited:
        main(words)
    assert exited.value.code == 2
    assert reason in capsys.readouterr().err


def test_every_command_has_help(capsys: pytest.CaptureFixture[str]) -> None:
    names = (
        "worker start result list describe history signal query update cancel terminate routers "
        "prune core-info"
    )
    for name in names.split():
        with pytest.raises(SystemExit) as exited:
            main([name, "--help"])
        assert exited.value.code == 0
        assert "--json" in capsys.readouterr().out


def test_core_info_needs_no_database(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["core-info", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["core"] in ("python", "rust")
