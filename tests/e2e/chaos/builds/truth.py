"""What is so after a build, of three accounts: what exists, what the state says, what the API says.

Pure; `world.py` finds the facts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

PROCESSES = frozenset({"agent", "helper"})
_GOING_ON = frozenset({"starting", "stopping", "deleting", "pending", "canceling"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What a state names: pids by the processes' names, the ids of things, how many agents."""

    processes: Mapping[str, int] = field(default_factory=dict)
    things: frozenset[str] = frozenset()
    agents: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """Of one workspace, while none of its builds goes on.

    `status` is the API's, None where it knows no such workspace. `exists`: name and pid of each
    process. `things` are those in the cloud, `untold` the ones that a Terraform made or removed
    which was killed before it could say so. `agents` have a token that is good.
    """

    transition: str
    outcome: str
    status: str | None
    exists: tuple[tuple[str, int], ...] = ()
    recorded: Mapping[str, int] = field(default_factory=dict)
    things: frozenset[str] = frozenset()
    untold: frozenset[str] = frozenset()
    told: Told = field(default_factory=Told)
    agents: int = 0
    lock: str | None = None
    active: int = 0


def find_faults(facts: Facts) -> list[str]:
    """Everything that must not be."""
    found = [*_always(facts)]
    if facts.outcome == "succeeded":
        found += {"start": _running, "stop": _stopped, "delete": _deleted}[facts.transition](facts)
    return found


def _always(facts: Facts) -> Iterator[str]:
    if facts.lock is not None:
        yield f"the state is locked by {facts.lock}"
    if facts.active:
        yield f"{facts.active} builds go on"
    if facts.status in _GOING_ON:
        yield f"the API says {facts.status}, and no build goes on"
    for name, count in Counter(name for name, _ in facts.exists).items():
        if count > 1:
            yield f"{count} processes are {name}"
    known = {*facts.recorded.values(), *facts.told.processes.values()}
    for name, pid in facts.exists:
        if pid not in known:
            yield f"nobody knows the process {name} ({pid})"
    for thing in facts.things - facts.told.things - facts.untold:
        yield f"the state has forgotten the thing {thing}"


def _running(facts: Facts) -> Iterator[str]:
    if facts.status != "running":
        yield f"the API says {facts.status} after a start"
    if dict(facts.exists) != facts.told.processes or facts.told.processes.keys() != PROCESSES:
        yield f"{sorted(facts.exists)} run, the state has {sorted(facts.told.processes.items())}"
    if missing := facts.told.things - facts.things - facts.untold:
        yield f"the state has things that do not exist: {sorted(missing)}"
    if len(facts.told.things) != 2:
        yield f"the state has {len(facts.told.things)} things after a start"
    if (facts.agents, facts.told.agents) != (1, 1):
        yield f"{facts.agents} agents, the state has {facts.told.agents}"


def _stopped(facts: Facts) -> Iterator[str]:
    if facts.status != "stopped":
        yield f"the API says {facts.status} after a stop"
    if facts.exists or facts.told.processes:
        yield f"{sorted(facts.exists)} run after a stop, the state has {facts.told.processes}"
    if len(facts.told.things) != 1:
        yield f"the state has {len(facts.told.things)} things after a stop"


def _deleted(facts: Facts) -> Iterator[str]:
    if facts.status is not None:
        yield f"the API says {facts.status} after a delete"
    if facts.exists or facts.recorded:
        yield f"{sorted(facts.exists)} run after a delete, {sorted(facts.recorded)} are recorded"
    if facts.told.things or facts.told.processes or facts.told.agents:
        yield f"the state still has {facts.told}"
    if facts.agents:
        yield f"{facts.agents} agents of a deleted workspace have a token that is good"
