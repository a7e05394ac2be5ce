"""The Lua scripts: loaded from their files, each with the common part before it.

A batch is one script and so one atomic step of the server, as long as it comes to its end. A
command in its midst that the user may not run would end it, and what it had written would stay.
So a script that writes is told which commands it may come to, and asks for them all before it
begins. Nothing here talks to a server.
"""

from __future__ import annotations

import hashlib
import re
from importlib import resources
from typing import NamedTuple


class Script(NamedTuple):
    """A script with the digest that servers know it by."""

    name: str
    text: bytes
    digest: bytes
    commands: tuple[str, ...]
    """What it may come to, its reads included."""


_FOLDER = resources.files("hotmesh.backends.redis") / "lua"
_COMMON = _FOLDER.joinpath("common.lua").read_text("utf-8")
_FUNCTION = re.compile(r"^local function (\w+)\(.*?^end$", re.MULTILINE | re.DOTALL)
_COMMENT = re.compile(r"--.*$", re.MULTILINE)
_CALL = re.compile(r"\bp?call\(([^,)]*)")
_WORD = re.compile(r"'([A-Z]+)'")

_READING = frozenset(
    (
        "EXISTS", "GET", "HEXISTS", "HGET", "HGETALL", "HKEYS", "HLEN", "HMGET", "HRANDFIELD",
        "HVALS", "LLEN", "LRANGE", "PUBLISH", "SCARD", "SMEMBERS", "SRANDMEMBER", "TIME", "XRANGE",
        "ZRANGE", "ZRANGEBYLEX", "ZRANGEBYSCORE", "ZREVRANGEBYLEX", "ZSCORE",
    )
)  # fmt: skip
"""Commands that change no key. Whatever is not named here counts as a write."""


def _commands(text: str) -> tuple[str, ...]:
    """The commands of a script's own text, and of the common functions that it comes to."""
    functions = {found[1]: found[0] for found in _FUNCTION.finditer(_COMMON)}
    reached = _COMMENT.sub("", _FUNCTION.sub("", _COMMON) + text)
    while used := functions.keys() & set(re.findall(r"\w+", reached)):
        reached += "".join(functions.pop(name) for name in sorted(used))
    called = "".join(_CALL.findall(reached))
    return tuple(sorted(set(_WORD.findall(called))))


def _load(name: str) -> Script:
    own = _FOLDER.joinpath(f"{name}.lua").read_text("utf-8")
    commands = _commands(own)
    needed = commands if set(commands) - _READING else ()
    first = f"local needed = {{ {', '.join(map(repr, needed))} }}\n"
    text = (first + _COMMON + own).encode()
    digest = hashlib.sha1(text, usedforsecurity=False).hexdigest()
    return Script(name, text, digest.encode(), commands)


BEAT = _load("beat")
COMPLETE_TASK = _load("complete_task")
FIND = _load("find")
JOURNAL = _load("journal")
LEAVE = _load("leave")
LIST = _load("list")
ATTRIBUTE_NAMES = _load("attribute_names")
LOAD = _load("load")
MAIL = _load("mail")
MESSAGES = _load("messages")
NOTE = _load("note")
PENDING = _load("pending")
PRUNE = _load("prune")
PUBLISH = _load("publish")
QUEUE_ID = _load("queue_id")
RELEASE = _load("release")
REPLIES = _load("replies")
RESULTS = _load("results")
RIGHTS = _load("rights")
ROUTERS = _load("routers")
SEND = _load("send")
START = _load("start")
STAND_DOWN = _load("stand_down")
STEP = _load("step")
TASKS = _load("tasks")
TASKS_OF = _load("tasks_of")
TASKS_OF_RUNS = _load("tasks_of_runs")

COMMANDS: tuple[str, ...] = tuple(
    sorted(
        {"EVAL", "EVALSHA"}.union(
            *(each.commands for each in tuple(globals().values()) if isinstance(each, Script))
        )
        - {"PUBLISH"}
    )
)
"""What whoever uses the database must be allowed. Without PUBLISH everything is only slower."""
