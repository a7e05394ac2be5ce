"""What a script may come to is read out of its text, and asked for before it writes."""

import re

import pytest

from hotmesh.backends.redis import scripts
from hotmesh.backends.redis.scripts import Script

ALL = [each for each in vars(scripts).values() if isinstance(each, Script)]


@pytest.mark.parametrize("script", ALL, ids=lambda each: each.name)
def test_every_command_of_a_script_is_known(script: Script) -> None:
    """None is computed: it could not be asked for."""
    called = re.findall(r"(?:redis\.p?|\bp?)call\(([^,)]*)", script.text.decode())
    called = [each for each in called if not each.startswith("cjson.")]
    assert called
    assert [each for each in called if not re.search(r"'[A-Z]+'", each)] == []


def test_a_script_asks_for_what_the_common_functions_call() -> None:
    assert {"LPOP", "RPUSH", "XADD", "INCRBY"} <= set(scripts.MAIL.commands)
    assert scripts.MAIL.text.startswith(b"local needed = { 'GET', ")


def test_a_script_that_only_reads_asks_for_nothing() -> None:
    assert scripts.FIND.text.startswith(b"local needed = {  }\n")


def test_a_script_has_no_function_that_it_does_not_come_to() -> None:
    """Each would be made anew at every call."""
    for script in ALL:
        text = re.sub(r"--.*$", "", script.text.decode(), flags=re.MULTILINE)
        for name in re.findall(r"^local function (\w+)\(", text, flags=re.MULTILINE):
            assert len(re.findall(rf"\b{name}\b", text)) > 1, (script.name, name)


def test_a_plain_step_is_a_part_of_the_whole_one() -> None:
    whole, plain = scripts.STEP, scripts.PLAIN_STEP
    assert set(plain.commands) < set(whole.commands)
    lines = iter(whole.text.decode().splitlines()[1:])
    assert all(line in lines for line in plain.text.decode().splitlines()[1:] if line)
    assert b"plain again" not in plain.text
