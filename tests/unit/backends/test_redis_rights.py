"""What a script asks for is asked in a way that no server crashes of."""

import re

from hotmesh.backends.redis import scripts

COUNTING_KEYS = {
    *("BLMPOP", "BZMPOP", "EVAL", "EVALSHA", "EVALSHA_RO", "EVAL_RO", "FCALL", "FCALL_RO"),
    *("LMPOP", "SINTERCARD", "ZDIFF", "ZDIFFSTORE", "ZINTER", "ZINTERCARD", "ZINTERSTORE"),
    *("ZMPOP", "ZUNION", "ZUNIONSTORE"),
}
"""Commands with the number of their keys as an argument. Asked about without it, Redis reads beyond
the end of the arguments: https://github.com/redis/redis/issues/14843."""


def test_commands_are_asked_about_with_their_keys() -> None:
    asked = {word for word in scripts.COMMANDS if word in COUNTING_KEYS}
    assert asked == {"EVAL", "EVALSHA"}
    text = scripts.RIGHTS.text.decode()
    assert "counts_keys = { EVAL = true, EVALSHA = true }" in text
    assert "acl_check_cmd(word, '', '1', P)" in text
    bare = re.compile(r"acl_check_cmd\([^,()]*\)")
    for each in vars(scripts).values():
        if isinstance(each, scripts.Script):
            assert not bare.search(each.text.decode()), each.name


def test_no_script_comes_to_a_command_that_counts_its_keys() -> None:
    every = [each for each in vars(scripts).values() if isinstance(each, scripts.Script)]
    assert every
    assert not {word for each in every for word in each.commands} & COUNTING_KEYS
