"""What came of the builds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from statistics import median

from tests.e2e.chaos.builds.load import Compared
from tests.e2e.chaos.report import Happened


@dataclass(kw_only=True)
class BuildReport:
    """All of a run. `killed`: how often a Terraform was met that could be killed or cancelled."""

    seed: int
    postgres: bool = False
    seconds: float
    killed: int = 0
    compared: list[Compared] = field(default_factory=list)
    happened: list[Happened] = field(default_factory=list)
    stuck: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)

    @property
    def faults(self) -> list[str]:
        """Everything that must not be."""
        found = [
            f"{one.workspace}, {one.transition} {one.outcome}: {fault}"
            for one in self.compared
            for fault in one.faults
        ]
        return [*found, *self.stuck, *self.left]

    def as_json(self) -> dict[str, object]:
        """Everything, for programs."""
        return {**asdict(self), "faults": self.faults}

    def lines(self) -> Sequence[str]:
        """Everything, for people."""
        database = "PostgreSQL" if self.postgres else "SQLite"
        troubles = Counter(one.kind for one in self.happened)
        outcomes = Counter((one.transition, one.outcome) for one in self.compared)
        return [
            f"seed {self.seed} on {database}, {self.seconds:.0f} s, {len(self.happened)} troubles",
            f"builds cut off or cancelled {self.killed} times",
            *(f"  {count:4} x {kind}" for kind, count in sorted(troubles.items())),
            f"{'builds':<20} {'count':>5} {'median s':>9} {'longest s':>10}",
            *(
                f"{f'{transition} {outcome}':<20} {count:>5} {median(times):>9.1f}"
                f" {max(times):>10.1f}"
                for (transition, outcome), count in sorted(outcomes.items())
                if (times := [*self._times(transition, outcome)])
            ),
            *(f"FAULT: {fault}" for fault in self.faults),
            f"compared {len(self.compared)} times, faults: {len(self.faults)}",
        ]

    def _times(self, transition: str, outcome: str) -> list[float]:
        chosen = (transition, outcome)
        return [one.took_s for one in self.compared if (one.transition, one.outcome) == chosen]
