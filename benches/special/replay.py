"""Replay of long histories: steps a second, and whether ten times as many take ten times as long.

A history is made by stepping a workflow of sequential activities, and encoded as it would be
stored; measured is what a router does with it: decode the frames, and replay them.
"""

import time

from measuring import median
from results import Result, figure

from hotmesh.bench.workloads import Steps, echo
from hotmesh.converter import DataConverter, encode_values
from hotmesh.core import decode_transition, encode_transition, kinds
from hotmesh.engine.definition import WorkflowDefinition
from hotmesh.engine.details import EngineOptions, RunDetails
from hotmesh.engine.instance import WorkflowInstance
from hotmesh.router.replaying import Engine
from hotmesh.router.state import RunState
from hotmesh.router.watchdog import Watchdog
from special.place import Place, own_command

STEPS = (1_000, 10_000, 100_000)
STEPS_PER_S_LEAST = 50_000
LINEAR_LEAST = 0.8
"""Speed of the longest history, as a part of that of the shortest."""

_START_MS = 1_700_000_000_000


def measure(place: Place) -> dict[str, Result]:
    """Steps a second by length of the history."""
    command = own_command("replay", place)
    speeds: dict[int, float] = {}
    results: dict[str, Result] = {}
    for wanted in STEPS:
        steps = place.many(wanted)
        speeds[wanted] = median([_speed(steps) for _ in range(place.rounds)])
        results[f"replay {wanted:,} steps"] = figure(
            speeds[wanted], "steps/s", command, goal=STEPS_PER_S_LEAST, steps=steps
        )
    results["replay linear"] = figure(
        speeds[STEPS[-1]] / speeds[STEPS[0]],
        f"speed at {STEPS[-1]:,} steps / at {STEPS[0]:,}",
        command,
        goal=LINEAR_LEAST,
    )
    return results


def _definition() -> WorkflowDefinition:
    definition = WorkflowDefinition.of(Steps)
    assert definition is not None
    return definition


def _details(steps: int) -> RunDetails:
    body = encode_values(DataConverter.default, [steps], "arguments")
    return RunDetails("bench", "replayed", bytes(16), "bench_steps", "bench", 64, {}, body)


def history(steps: int) -> list[bytes]:
    """The journal of a workflow that has done so many steps and waits for one more."""
    details = _details(steps + 1)
    instance = WorkflowInstance(_definition(), details, EngineOptions(DataConverter.default))
    result = encode_values(DataConverter.default, [1], echo.__name__)
    job = (kinds.START, 0, 0, "", b"", b"")
    frames: list[bytes] = []
    for number in range(steps + 1):
        now_ms = _START_MS + number
        commands = instance.activate(now_ms, [job], replaying=False, accepted=[])
        frames.append(encode_transition(now_ms, [job], commands))
        job = (kinds.ACTIVITY_COMPLETED, number + 1, 1, "", b"", result)
    instance.dismantle()
    return frames


def _speed(steps: int) -> float:
    frames = history(steps)
    options = EngineOptions(DataConverter.default)
    engine = Engine({"bench_steps": _definition()}, options)
    began = time.perf_counter()
    state = RunState(_details(steps + 1))
    state.remember([decode_transition(frame) for frame in frames], list(map(len, frames)))
    instance = engine.bring_up(state, Watchdog(0))
    seconds = time.perf_counter() - began
    instance.dismantle()
    return steps / seconds
