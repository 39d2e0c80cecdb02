"""Rows of a benchmark: the value, the peer's, the ratio, what was wanted, whether it was met."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One figure. `wanted` is a limit on the ratio where there is a peer, else on the value.

    `at_most` says which side of the limit is good. `wanted` None: shown, not judged.
    """

    name: str
    value: float
    unit: str
    peer: float | None = None
    wanted: float | None = None
    at_most: bool = True

    @property
    def ratio(self) -> float | None:
        """Ours over the peer's."""
        return self.value / self.peer if self.peer else None

    @property
    def met(self) -> bool | None:
        """Whether the measurement is on the good side of the limit."""
        if self.wanted is None:
            return None
        judged = self.value if self.ratio is None else self.ratio
        return judged <= self.wanted if self.at_most else judged >= self.wanted

    def shape(self) -> dict[str, Any]:
        """As JSON."""
        found = {k: v for k, v in asdict(self).items() if k != "at_most"}
        return {**found, "ratio": self.ratio, "met": self.met}


def machine() -> str:
    """What this ran on, in one line."""
    system = f"{platform.system()} {platform.machine()}"
    return f"{system}, {os.cpu_count()} cores, Python {platform.python_version()}"


def print_table(name: str, rows: Sequence[Row]) -> None:
    """An aligned table."""
    head = ("figure", "ours", "peer", "ratio", "wanted", "met")
    cells = [head]
    for row in rows:
        sign = "<=" if row.at_most else ">="
        cells.append(
            (
                row.name,
                f"{row.value:.4g} {row.unit}",
                "-" if row.peer is None else f"{row.peer:.4g} {row.unit}",
                "-" if row.ratio is None else f"{row.ratio:.2f}",
                "-" if row.wanted is None else f"{sign} {row.wanted:g}",
                {None: "-", True: "yes", False: "NO"}[row.met],
            )
        )
    widths = [max(len(line[i]) for line in cells) for i in range(len(head))]
    print(f"{name} on {machine()}")
    for line in cells:
        print(
            "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        )


def progress(text: str) -> None:
    """Say on standard error what is being measured."""
    print(f"  … {text}", file=sys.stderr, flush=True)


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which `share` (0 to 1) of `values` lie."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]
