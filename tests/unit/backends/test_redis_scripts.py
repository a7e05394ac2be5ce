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
