"""What came of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field

# Trouble that ended so long before a load was last well is not named with its loss. Seconds.
_BEFORE_S = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Happened:
    """A trouble, with seconds since the beginning."""

    kind: str
    began_s: float
    ended_s: float

    def __str__(self) -> str:
        return f"{self.began_s:6.1f} to {self.ended_s:6.1f} s  {self.kind}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fate:
    """A load, when it was last well, and when and how it was lost.

    `anew`: how often the agent was killed under it, which was said.
    """

    name: str
    checked_s: float
    bytes_total: int
    checks: int
    anew: int = 0
    lost: str | None = None
    lost_s: float = 0.0


@dataclass(kw_only=True)
class Report:
    """All of a run."""

    seed: int
    tls: bool = False
    seconds: float
    resumes: int = 0
    moves: int = 0
    fates: list[Fate] = field(default_factory=list)
    happened: list[Happened] = field(default_factory=list)

    @property
    def lost(self) -> list[Fate]:
        """The loads that did not survive."""
        return [fate for fate in self.fates if fate.lost is not None]

    def as_json(self) -> dict[str, object]:
        """Everything, for programs."""
        return {**asdict(self), "lost": len(self.lost)}

    def lines(self) -> Sequence[str]:
        """Everything, for people."""
        counts = Counter(one.kind for one in self.happened)
        way = " over TLS" if self.tls else ""
        return [
            f"seed {self.seed}{way}, {self.seconds:.0f} s, {len(self.happened)} troubles",
            f"streams resumed {self.resumes} times and moved to a direct path {self._moved()}",
            *(f"  {count:4} x {kind}" for kind, count in sorted(counts.items())),
            f"{'load':<16} {'MB':>9} {'checks':>8} {'anew':>5}  ended",
            *(
                f"{fate.name:<16} {fate.bytes_total / 1e6:>9.1f} {fate.checks:>8} {fate.anew:>5}  "
                + ("well" if fate.lost is None else f"LOST, seen at {fate.lost_s:.1f} s")
                for fate in self.fates
            ),
            *(line for fate in self.lost for line in self._why(fate)),
            f"sessions lost: {len(self.lost)}",
        ]

    def _moved(self) -> str:
        if self.moves:
            return f"{self.moves} times"
        tried = any(one.kind == "direct" for one in self.happened)
        return f"never, {'though there was one' if tried else 'as there was none'}"

    def _why(self, fate: Fate) -> Sequence[str]:
        before = [
            f"    {one}"
            for one in self.happened
            if one.began_s <= fate.lost_s and one.ended_s >= fate.checked_s - _BEFORE_S
        ]
        return [f"{fate.name}, last well at {fate.checked_s:.1f} s: {fate.lost}", *before]
