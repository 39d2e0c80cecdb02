"""Measures the stages of a run and its work on each resource, from Terraform's events. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Final

from kled_coord.terraform.output.events import (
    Event,
    ResourceDone,
    ResourceFailed,
    ResourceStarted,
    StageBegan,
)

# What comes before Terraform's first command: shutdown scripts, the template, its values.
PREPARING: Final = "prepare"
# A template may have more resources; those that begin later are not kept.
STEPS_MAX: Final = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class TimedStep:
    """A stage, or what was done to a resource in one.

    `started_s` counts from the beginning of the run; `duration_s` is None until the step ended.
    `action` is empty for a stage.
    """

    kind: str  # stage or resource
    name: str
    action: str = ""
    started_s: float
    duration_s: float | None = None
    failed: bool = False

    def ended(self, at_s: float, *, failed: bool = False) -> TimedStep:
        """The same step, ended then."""
        return replace(self, duration_s=round(at_s - self.started_s, 3), failed=failed)


@dataclass(frozen=True, slots=True, kw_only=True)
class TerraformTimings:
    """The steps of a run in the order in which they began; those of `open` have not ended."""

    steps: tuple[TimedStep, ...] = ()
    open: Mapping[str, int] = field(default_factory=dict)  # name: its place in `steps`

    def after(self, event: Event, at_s: float) -> TerraformTimings:
        """Return the timings once `event` has happened, at so many seconds of the run."""
        match event:
            case StageBegan(stage):
                over = self.ended(at_s, failed=False)
                return over.begun("stage", stage, "", at_s)
            case ResourceStarted(address, action) if len(self.steps) < STEPS_MAX:
                return self.begun("resource", address, action, at_s)
            case ResourceDone(address, _, _):
                return self._end(address, at_s, failed=False)
            case ResourceFailed(address, _, _):
                return self._end(address, at_s, failed=True)
            case _:
                return self

    def ended(self, at_s: float, *, failed: bool) -> TerraformTimings:
        """End what is open; where the run `failed`, its last stage has, and what it was at."""
        steps = list(self.steps)
        for place in self.open.values():
            steps[place] = steps[place].ended(at_s, failed=failed)
        return replace(self, steps=tuple(steps), open={})

    def plain(self) -> list[dict[str, Any]]:
        """As they are kept with a build."""
        return [asdict(step) for step in self.steps]

    def begun(self, kind: str, name: str, action: str, at_s: float) -> TerraformTimings:
        """Return the timings with one step more, which began then."""
        if name in self.open:
            return self._end(name, at_s, failed=False).begun(kind, name, action, at_s)
        step = TimedStep(kind=kind, name=name, action=action, started_s=round(at_s, 3))
        return TerraformTimings(
            steps=(*self.steps, step),
            open={**self.open, name: len(self.steps)},
        )

    def _end(self, name: str, at_s: float, *, failed: bool) -> TerraformTimings:
        place = self.open.get(name)
        if place is None:
            return self
        ended = self.steps[place].ended(at_s, failed=failed)
        return replace(
            self,
            steps=(*self.steps[:place], ended, *self.steps[place + 1 :]),
            open={key: value for key, value in self.open.items() if key != name},
        )


BEGUN: Final = TerraformTimings().after(StageBegan(PREPARING), 0.0)
