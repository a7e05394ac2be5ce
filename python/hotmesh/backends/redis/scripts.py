"""The Lua scripts: loaded from their files, each with the common part before it.

A batch is one script and so one atomic step of the server. Nothing here talks to a server.
"""

from __future__ import annotations

import hashlib
from importlib import resources
from typing import NamedTuple


class Script(NamedTuple):
    """A script with the digest that servers know it by."""

    name: str
    text: bytes
    digest: bytes


def _load(name: str) -> Script:
    folder = resources.files("hotmesh.backends.redis") / "lua"
    text = folder.joinpath("common.lua").read_bytes() + folder.joinpath(f"{name}.lua").read_bytes()
    digest = hashlib.sha1(text, usedforsecurity=False).hexdigest()
    return Script(name, text, digest.encode())


BEAT = _load("beat")
COMPLETE_TASK = _load("complete_task")
FIND = _load("find")
JOURNAL = _load("journal")
LEAVE = _load("leave")
LIST = _load("list")
ATTRIBUTE_NAMES = _load("attribute_names")
LOAD = _load("load")
MAIL = _load("mail")
NOTE = _load("note")
PENDING = _load("pending")
PRUNE = _load("prune")
PUBLISH = _load("publish")
QUEUE_ID = _load("queue_id")
RELEASE = _load("release")
REPLIES = _load("replies")
RESULTS = _load("results")
ROUTERS = _load("routers")
SEND = _load("send")
START = _load("start")
STAND_DOWN = _load("stand_down")
STEP = _load("step")
TASKS = _load("tasks")
TASKS_OF = _load("tasks_of")
TASKS_OF_RUNS = _load("tasks_of_runs")
