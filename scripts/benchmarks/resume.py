"""What a resumable stream costs ssh, against a bare one: both over the relay, on loopback.

Judged is the layer: `kled stream` stays beside ssh and moves every byte both times. What its
process costs, against a socket that is handed to ssh, is shown: that can be had on plain HTTP only,
where `--resume auto` takes it on the coordinator's own machine.
"""

from __future__ import annotations

import statistics
from contextlib import ExitStack

from benchmarks.echo import open_terminal, type_keys
from benchmarks.relay import RESUMABLE, download, upload
from benchmarks.report import Row, percentile, progress
from benchmarks.world import open_world

BYTES = 500_000_000
ROUNDS = 5
KEYSTROKES = 500
# Row, what it is of, unit, and what is wanted of the layer.
FIGURES = (
    ("workspace to client", "down", "MB/s", 0.9),
    ("client to workspace", "up", "MB/s", 0.9),
    ("echo p50", "p50", "us", 1.3),
)


def run(*, quick: bool) -> list[Row]:
    """Medians of rounds in which the three take turns."""
    size, keys = (BYTES // 10, KEYSTROKES // 10) if quick else (BYTES, KEYSTROKES)
    with open_world() as world:
        sides = {
            "resumable": world.through(*RESUMABLE),
            "bare": world.through("--resume", "never"),
            "handed over": world.ours_beside_others(),
        }
        # Before there is a terminal: typing has priority over bulk in one.
        taken = _transfers(sides, size) | {"p50": _echoes(sides, keys)}
    return [
        Row(
            name=f"{name}, resumable against {peer}",
            value=statistics.median(taken[key]["resumable"]),
            unit=unit,
            peer=statistics.median(taken[key][peer]),
            wanted=wanted if peer == "bare" else None,
            at_most=unit == "us",
        )
        for peer in ("bare", "handed over")
        for name, key, unit, wanted in FIGURES
    ]


def _transfers(sides: dict[str, list[str]], size: int) -> dict[str, dict[str, list[float]]]:
    taken: dict[str, dict[str, list[float]]] = {
        name: {side: [] for side in sides} for name in ("down", "up")
    }
    for number in range(ROUNDS):
        for name, measure in (("down", download), ("up", upload)):
            for side in list(sides)[:: -1 if number % 2 else 1]:
                progress(f"{name}, {side}")
                taken[name][side].append(measure(sides[side], size))
    return taken


def _echoes(sides: dict[str, list[str]], keys: int) -> dict[str, list[float]]:
    taken: dict[str, list[float]] = {side: [] for side in sides}
    with ExitStack() as stack:
        terminals = {
            side: stack.enter_context(open_terminal(command)) for side, command in sides.items()
        }
        for terminal in terminals.values():
            type_keys(terminal, 50)
        for number in range(ROUNDS):
            progress(f"echo, round {number + 1} of {ROUNDS}")
            for side in list(sides)[:: -1 if number % 2 else 1]:
                taken[side].append(percentile(type_keys(terminals[side], keys), 0.5))
    return taken
