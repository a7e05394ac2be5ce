"""What clients do and which faults there are: made from a seed, by a profile's odds."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from simulation.app import (
    Again,
    Asks,
    Chain,
    Collect,
    Endless,
    Fan,
    Hurries,
    Lasts,
    Late,
    Naps,
    Passes,
    Sends,
    Tree,
)
from simulation.catalogue import ENDLESS, GROUPED, HOSTED, PLAIN, WORKFLOWS
from simulation.grouped import Groups, Renews
from simulation.hauled import Hauls

FAULTS_END_S = 8.0
"""Virtual seconds after which nothing goes wrong any more."""

TROUBLES = (
    *("kill", "pause", "restart", "lose, kill", "lose, kill"),
    *("stall step", "stall beat", "stall *", "stall step, beat", "stall step, beat"),
)
"""What happens to a worker: it is killed, paused, or stopped and started anew; a step of it is lost
and soon after it is killed; or calls of these kinds get nowhere for a while. In some profiles
something blocks its event loop, another one joins it, or a step of it is lost."""

RATES = (0.0, 0.0, 0.01, 0.05, 0.2)


@dataclass(frozen=True)
class Profile:
    """How often what happens. Each profile makes the conditions of some kind of fault likely."""

    kinds: Sequence[Any]
    troubles: Sequence[str]
    most_troubles: int = 5
    fewest_troubles: int = 0
    seconds: Sequence[float] = (0.3, 1.5, 3.0)
    """About how long a trouble lasts."""
    lose_requests: Sequence[float] = RATES
    lose_answers: Sequence[float] = RATES
    lose_hints: Sequence[float] = (0.0, 0.3, 1.0)
    slow: Sequence[float] = (0.0, 0.1, 0.5)
    workers: Sequence[int] = (1, 2, 2, 3)
    concurrent: Sequence[int] = (1, 2, 10, 100)
    cached: Sequence[int] = (1000, 1000, 3, 0)
    eager: float = 0.9
    """Chance that a worker starts activities at once."""
    halves: float = 0.0
    """Chance that a worker hosts half of the workflows only."""
    most_cases: int = 8
    counts: tuple[int, int] = (1, 4)
    large: bool = False
    """Whether limits are low, so that values are large."""
    begin_s: float = 4.0
    """Within which the workflows begin."""


PLAIN_PROFILE = Profile(PLAIN, TROUBLES)
WIDE_PROFILE = Profile(
    WORKFLOWS,
    (*TROUBLES, "set clock", "set clock twice", "stall tasks", "stall tasks", "hold up", "hold up"),
    halves=0.3,
)
WIDE = 3
"""Each such seed of the mixed profile has more: workers that host different types, a database whose
clock is set, claims that are not renewed in time, more kinds of workflows. The others put more
weight on what goes wrong mostly."""

PROFILES = {
    "mixed": PLAIN_PROFILE,
    "tenures": Profile(
        (Fan, Chain, Groups, Tree, Again),
        ("hold up", "hold up", "stall step"),
        fewest_troubles=4,
        most_troubles=8,
        seconds=(1.5, 2.5),
        lose_requests=(0.0,),
        lose_answers=(0.0,),
        workers=(1, 1, 2),
        concurrent=(10, 100),
        cached=(0, 0, 3),
        eager=1.0,
    ),
    "attempts": Profile(
        (Chain, Fan, Endless, Again),
        ("stall tasks", "stall tasks", "stall step, beat, tasks", "pause"),
        fewest_troubles=5,
        most_troubles=9,
        seconds=(2.0, 3.0),
        lose_requests=(0.0, 0.05),
        slow=(0.5,),
        workers=(2, 3),
        concurrent=(2, 10),
        eager=0.3,
        counts=(2, 6),
    ),
    "repeats": Profile(
        (Collect, Sends, Passes, Asks, Late),
        TROUBLES,
        most_troubles=2,
        lose_requests=(0.0, 0.05),
        lose_answers=(0.2, 0.4),
        lose_hints=(0.0, 0.3),
        slow=(0.0, 0.1),
    ),
    "moves": Profile(
        (Tree, Sends, Tree, Sends, Asks),
        ("kill", "kill", "lose, kill", "stall step, beat"),
        fewest_troubles=3,
        lose_requests=(0.0,),
        lose_answers=(0.05, 0.2),
        lose_hints=(0.3, 1.0),
        slow=(0.5,),
        workers=(2, 3),
        halves=0.9,
        counts=(3, 6),
    ),
    "closes": Profile(
        (Late, Late, Asks, Chain),
        TROUBLES,
        most_troubles=2,
        lose_requests=(0.0, 0.05),
        lose_answers=(0.0, 0.05),
        lose_hints=(0.3, 1.0),
        cached=(1000,),
        eager=1.0,
    ),
    "floods": Profile(
        (Hurries, Hurries, Hurries, Late, Late, Collect, Asks),
        ("restart", "restart", "restart", "join", "lose step"),
        fewest_troubles=3,
        most_troubles=6,
        lose_requests=(0.0, 0.05),
        lose_answers=(0.0, 0.05),
        lose_hints=(0.3, 1.0),
        slow=(0.1, 0.2),
        workers=(1, 2),
        eager=1.0,
        counts=(4, 12),
        large=True,
    ),
    "losses": Profile(
        (Chain, Tree, Sends, Fan),
        ("lose, kill", "lose, kill", "stall step"),
        fewest_troubles=3,
        lose_requests=(0.05, 0.2),
        lose_hints=(0.0, 0.3),
    ),
    "groups": Profile(
        GROUPED,
        (*TROUBLES, "hold up"),
        lose_requests=(0.0, 0.05),
        lose_answers=(0.0, 0.05),
        cached=(1000, 3, 0),
    ),
    "large": Profile(
        (Hauls, Hauls, Chain),
        (*TROUBLES, "hold up", "lose a piece", "lose a piece"),
        lose_requests=(0.0, 0.05),
        lose_answers=(0.0, 0.05),
        cached=(1000, 3, 0, 0),
        large=True,
    ),
    "joins": Profile(
        (Lasts, Lasts, Lasts, Asks),
        ("kill",),
        fewest_troubles=4,
        seconds=(1.0, 2.0),
        lose_requests=(0.0,),
        lose_answers=(0.0,),
        workers=(2, 3),
        concurrent=(10, 100),
        eager=1.0,
        begin_s=6.0,
    ),
    "handovers": Profile(
        (Fan, Fan, Chain, Again, Tree, Late, Late, Hurries, Hurries),
        ("join", "restart", "lose step", "lose step"),
        fewest_troubles=6,
        most_troubles=12,
        lose_requests=(0.0, 0.05),
        lose_answers=(0.05, 0.2),
        slow=(0.0, 0.1),
        workers=(1, 2),
        concurrent=(2, 10, 100),
        eager=1.0,
        most_cases=12,
        counts=(3, 8),
        begin_s=6.0,
    ),
    "restores": Profile(
        (Chain, Fan, Tree, Again, Naps, Groups),
        ("go back", "go back", "kill", "stall step"),
        fewest_troubles=2,
        lose_requests=(0.0, 0.01),
        lose_answers=(0.0, 0.01),
    ),
    "clocks": Profile(
        (Naps, Naps, Groups, Chain),
        # Somebody notices each jump.
        ("set clock", "set clock", "set clock twice", *["set clock often"] * 4, "stall step"),
        fewest_troubles=2,
        slow=(0.0, 0.1, 0.5, 0.5),
        lose_requests=(0.0, 0.01),
        lose_answers=(0.0, 0.01),
    ),
}
"""By name. In the mixed one everything happens."""


@dataclass
class Case:
    """One workflow and what is sent to it."""

    kind: Any
    first: int
    count: int
    begins_s: float
    id: str
    ending: str = ""
    """"cancel" or "terminate": how a client ends it."""
    after_s: float = 0.0
    """When the client ends it, or how long it waits between messages."""
    outcome: Any = None
    is_ending: bool = False
    """Whether the client has asked for its end."""
    accepted: list[str] = field(default_factory=list)
    """What the client was told is accepted."""


@dataclass
class Plan:
    """All that a seed decides before anything happens."""

    cases: list[Case]
    workers: list[dict[str, Any]]
    lose_request: float
    lose_answer: float
    lose_hint: float
    slow: float
    troubles: list[tuple[float, str, float]]
    """(when, what, for how long)."""


def plan_of(seed: int, name: str = "mixed") -> Plan:
    """The plan of a seed.

    Args:
        seed: The seed.
        name: Of the profile.
    """
    source = random.Random(f"plan of {seed}" if name == "mixed" else f"{name} of {seed}")
    profile = PROFILES[name]
    if name == "mixed" and seed % WIDE == 0:
        profile = WIDE_PROFILE
    numbers = range(source.randint(3, profile.most_cases))
    cases = [_case(source, number, profile) for number in numbers]
    workers = [
        {
            "max_concurrent_activities": source.choice(profile.concurrent),
            "max_cached_workflows": source.choice(profile.cached),
            "disable_eager_activity_execution": source.random() >= profile.eager,
            "hosts": _hosted(source, profile),
        }
        for _ in range(source.choice(profile.workers))
    ]
    troubles = [
        (
            source.uniform(0.2, FAULTS_END_S),
            source.choice(profile.troubles),
            source.choice(profile.seconds) * source.uniform(0.5, 1.5),
        )
        for _ in range(source.randint(profile.fewest_troubles, profile.most_troubles))
    ]
    return Plan(
        cases,
        workers,
        source.choice(profile.lose_requests),
        source.choice(profile.lose_answers),
        source.choice(profile.lose_hints),
        source.choice(profile.slow),
        sorted(troubles),
    )


def _hosted(source: random.Random, profile: Profile) -> Sequence[Any]:
    """The workflows that a worker hosts: all, or a half; another worker has the rest."""
    if not profile.halves or source.random() >= profile.halves:
        return HOSTED
    return source.sample(WORKFLOWS, len(WORKFLOWS) // 2)


def _case(source: random.Random, number: int, profile: Profile) -> Case:
    kind = source.choice(profile.kinds)
    case = Case(
        kind,
        source.randrange(1000),
        source.randint(*profile.counts),
        source.uniform(0.0, profile.begin_s),
        f"{kind.__name__}-{number}",
        after_s=source.uniform(0.0, 2.0),
    )
    if kind in ENDLESS:
        case.ending = source.choice(["cancel", "terminate"])
    elif source.random() < 0.15 and kind not in (Again, Renews):
        case.ending = "cancel"
    return case
