"""Values that can't be stored, printed or compared, in every place that takes one of a user's.

Each is told to whoever gave it, by a typed error or by the run that fails; nothing waits in
silence, and neighbours on the same worker finish.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterator
from typing import Any

from hotmesh import activity, workflow
from hotmesh.client import Client, WorkflowHandle
from hotmesh.exceptions import ApplicationError, HotMeshError, RPCError
from support.neighbours import Neighbour, neighbours_finish
from support.running import SOON, attempts, start, working

DEEP = 5_000
OK = "ok"


def _deep() -> Any:
    value: Any = []
    for _ in range(DEEP):
        value = [value]
    return value


def _raising(base: type, *names: str) -> Any:
    def fail(self: object, *args: object, **named: object) -> Any:
        raise ValueError("poison")

    return type("Poison", (base,), dict.fromkeys(names, fail))


class Liar:
    """Says that it is of another class, by raising."""

    @property
    def __class__(self) -> Any:
        raise ValueError("poison")


POISON: dict[str, Callable[[], Any]] = {
    "huge int": lambda: 10**5_000,
    "not a number": lambda: float("nan"),
    "infinity": lambda: float("-inf"),
    "deep": _deep,
    "lone surrogate": lambda: "a\ud800b",
    "nul": lambda: "a\0b",
    "no text": lambda: _raising(object, "__str__", "__repr__")(),
    "no equal": lambda: _raising(object, "__eq__", "__bool__")(),
    "no pickle": lambda: _raising(object, "__reduce__", "__reduce_ex__", "__getattr__")(),
    "liar": Liar,
    "odd text": lambda: _raising(str, "__str__", "__repr__", "encode", "__len__", "__format__")(
        "x"
    ),
    "odd list": lambda: _raising(list, "__iter__", "__len__", "__getitem__")([1]),
    "odd error": lambda: _raising(Exception, "__str__", "__repr__", "__eq__", "__reduce__")("x"),
}
NAMES = ("huge int", "lone surrogate", "nul", "odd text", "no text")
"""Those that are tried as a name: of a memo, an attribute, an update."""


STORED = ("huge int", "lone surrogate", "nul", "odd text")
"""Those that a database might have a say in."""


@activity.defn
async def give(place: str, which: str) -> Any:
    value = POISON[which]()
    if place == "activity result":
        return value
    if place == "heartbeat":
        activity.heartbeat(value)
    elif place == "activity log":
        activity.logger.warning("poison %s", value, extra={"field": value})
    else:
        raise _error(place, value)
    return OK


def _error(place: str, value: Any) -> BaseException:
    if place.endswith("message"):
        return ApplicationError(value)
    if place.endswith("details"):
        return ApplicationError("poison", value)
    if place.endswith("category"):
        return ApplicationError("poison", category=value)
    if isinstance(value, Exception):
        return value
    error = RuntimeError(value)
    error.__cause__ = ValueError(value)
    return error


@activity.defn
async def take(value: Any) -> str:
    return OK


IN_ACTIVITIES = (
    "activity result",
    "heartbeat",
    "activity log",
    "activity error",
    "activity error message",
    "activity error details",
    "activity error category",
)
IN_WORKFLOWS = (
    "result",
    "activity argument",
    "memo",
    "memo name",
    "attribute",
    "attribute name",
    "log",
    "error",
    "error message",
    "error details",
    "error category",
    "enriched",
    "signal to another",
    "summary",
)
FROM_OUTSIDE = (
    "argument",
    "signal",
    "query argument",
    "query result",
    "query error",
    "update argument",
    "update result",
    "update error",
    "update id",
    "update name",
    "start memo",
    "start attribute",
    "cancel reason",
    "workflow id",
)


@workflow.defn
class Poisoned:
    @workflow.signal
    def noted(self, value: Any) -> None: ...

    @workflow.query
    def asked(self, place: str, which: str) -> Any:
        return self.answer(place, which)

    @workflow.update
    def updated(self, place: str, which: str) -> Any:
        return self.answer(place, which)

    def answer(self, place: str, which: str) -> Any:
        if "error" in place:
            raise _error(place, POISON[which]())
        return POISON[which]() if "result" in place else OK

    @workflow.run
    async def run(self, place: str, which: str, given: Any = None) -> Any:
        if place == "argument":
            return OK
        if place in FROM_OUTSIDE:
            await workflow.wait_condition(lambda: False)
        options: dict[str, Any] = {"start_to_close_timeout": SOON, "retry_policy": attempts(2)}
        if place in IN_ACTIVITIES:
            if place == "heartbeat":
                options["heartbeat_timeout"] = SOON
            return await workflow.execute_activity(give, args=[place, which], **options)
        value = POISON[which]()
        if place == "activity argument":
            return await workflow.execute_activity(take, value, **options)
        if place == "summary":
            return await workflow.execute_activity(take, 1, summary=value, **options)
        if place == "result":
            return value
        if place == "memo":
            workflow.upsert_memo({"poison": value})
        elif place == "memo name":
            workflow.upsert_memo({value: 1})
        elif place == "attribute":
            workflow.upsert_search_attributes({"poison": [value]})
        elif place == "attribute name":
            workflow.upsert_search_attributes({value: ["poison"]})
        elif place == "enriched":
            workflow.enrich({"poison": value})
        elif place == "log":
            workflow.logger.warning("poison %s", value, extra={"field": value})
        elif place == "signal to another":
            nobody = workflow.get_external_workflow_handle("nobody")
            await nobody.signal("poison", value)
        else:
            raise _error(place, value)
        await workflow.sleep(0.01)
        return OK


def _is_tried(place: str, which: str, *, everywhere: bool) -> bool:
    if place.endswith(" name"):
        return which in NAMES
    return everywhere or which in STORED


@contextlib.contextmanager
def log_apart() -> Iterator[list[str]]:
    """What is logged of workers and pipes that break. pytest can't report text with surrogates."""
    broken: list[str] = []

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            text = self.format(record)
            if record.levelno >= logging.CRITICAL:
                broken.append(text)

    logger, handler = logging.getLogger("hotmesh"), Handler()
    logger.propagate = False
    logger.addHandler(handler)
    try:
        yield broken
    finally:
        logger.removeHandler(handler)
        logger.propagate = True


async def test_poison_is_told_and_hurts_nobody_else(any_client: Client, database_url: str) -> None:
    places = (*IN_WORKFLOWS, *IN_ACTIVITIES, *FROM_OUTSIDE)
    everywhere = database_url.startswith("sqlite")
    tried = [
        (place, which)
        for place in places
        for which in POISON
        if _is_tried(place, which, everywhere=everywhere)
    ]
    wrong: list[str] = []
    hosted = working(any_client, Poisoned, Neighbour, activities=[give, take])
    with log_apart() as broken:
        async with hosted as worker:
            for some in _portions(tried, 60):
                found = await asyncio.gather(*(_try(any_client, *each) for each in some))
                wrong += filter(None, found)
            await neighbours_finish(any_client)
            assert worker.is_running
    assert wrong == []
    assert broken == []


def _portions(tried: list[tuple[str, str]], size: int) -> Iterator[list[tuple[str, str]]]:
    for at in range(0, len(tried), size):
        yield tried[at : at + size]


async def _try(client: Client, place: str, which: str) -> str:
    """What is wrong with how poison in a place is dealt with; empty if nothing is."""
    handles: list[WorkflowHandle[Any, Any]] = []
    try:
        async with asyncio.timeout(2 * SOON.total_seconds()):
            if place in FROM_OUTSIDE:
                await _give(client, place, which, handles)
            else:
                handles.append(await start(client, Poisoned.run, place, which))
                await _told(handles[0])
    except HotMeshError:
        pass  # it says what it is
    except BaseException as error:
        return f"{place}, {which}: {type(error)}"
    for handle in handles:
        with contextlib.suppress(RPCError):  # it is over
            await handle.terminate()
    return ""


async def _told(handle: WorkflowHandle[Any, Any]) -> None:
    """Wait until the run is over, or its record says what is wrong with it."""
    result = asyncio.ensure_future(handle.result())
    try:
        while not result.done():
            await asyncio.wait({result}, timeout=0.2)
            if not result.done() and "hotmesh.task_failure" in (await handle.describe()).record:
                return
        await result
    finally:
        result.cancel()


async def _give(
    client: Client, place: str, which: str, handles: list[WorkflowHandle[Any, Any]]
) -> None:
    value = POISON[which]()
    options: dict[str, Any] = {}
    if place == "start memo":
        options["memo"] = {"poison": value}
    elif place == "start attribute":
        options["search_attributes"] = {"poison": [value]}
    elif place == "workflow id":
        options["id"] = value
    arguments = [place, which, value] if place == "argument" else [place, which]
    handle = await start(client, Poisoned.run, *arguments, **options)
    handles.append(handle)
    if place == "argument":
        await _told(handle)
    elif place == "signal":
        await handle.signal(Poisoned.noted, value)
    elif place == "query argument":
        await handle.query(Poisoned.asked, args=[place, value])
    elif place.startswith("query"):
        await handle.query(Poisoned.asked, args=[place, which])
    elif place == "update argument":
        await handle.execute_update(Poisoned.updated, args=[place, value])
    elif place == "update id":
        await handle.execute_update(Poisoned.updated, args=[place, which], id=value)
    elif place == "update name":
        await handle.execute_update(value)
    elif place.startswith("update"):  # what is no failure fails the task, and the caller waits
        update = asyncio.ensure_future(handle.execute_update(Poisoned.updated, args=[place, which]))
        told = asyncio.ensure_future(_told(handle))
        await asyncio.wait({update, told}, return_when=asyncio.FIRST_COMPLETED)
        told.cancel()
        if not update.done():
            update.cancel()
        await asyncio.gather(update, told, return_exceptions=True)
    elif place == "cancel reason":
        await handle.cancel(reason=value)
