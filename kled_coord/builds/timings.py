"""Puts together how long a build took: queue, Terraform, agents and scripts. Pure.

Times are in seconds since it was queued.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from kled_coord.store.records import AgentArrival, Build, ScriptRun


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredStep:
    """A step; `duration_s` is None while it goes on. `kind` is queue, stage, resource, agent or
    script, and `action` what happened to a resource, or the stage of a script.

    An agent's step lasts from the end of the build until it connected.
    """

    kind: str
    name: str
    action: str
    started_s: float
    duration_s: float | None
    failed: bool = False


def steps_of(
    build: Build,
    measured: Iterable[Mapping[str, Any]],
    arrivals: Iterable[AgentArrival],
    scripts: Iterable[ScriptRun],
) -> list[MeasuredStep]:
    """All steps of a build, in the order in which they began."""

    def since(moment: datetime) -> float:
        return max(0.0, round((moment - build.queued_at).total_seconds(), 3))

    waited_s = None if build.started_at is None else since(build.started_at)
    steps = [
        MeasuredStep(kind="queue", name="queue", action="", started_s=0.0, duration_s=waited_s)
    ]
    for step in measured:
        shifted = {**step, "started_s": round(step["started_s"] + (waited_s or 0.0), 3)}
        steps.append(MeasuredStep(**shifted))
    for arrival in arrivals:
        came_s = since(arrival.connected_at)
        began_s = min(came_s, came_s if build.finished_at is None else since(build.finished_at))
        steps.append(
            MeasuredStep(
                kind="agent",
                name=arrival.name,
                action="connect",
                started_s=began_s,
                duration_s=round(came_s - began_s, 3),
            )
        )
    steps += [_script_step(run, since(run.started_at)) for run in scripts if run.started_at]
    return sorted(steps, key=lambda step: step.started_s)


def _script_step(run: ScriptRun, started_s: float) -> MeasuredStep:
    is_over = run.state not in {"waiting", "running"}
    return MeasuredStep(
        kind="script",
        name=run.name,
        action=run.stage,
        started_s=started_s,
        duration_s=round(run.duration_s, 3) if is_over else None,
        failed=is_over and run.state != "succeeded",
    )
