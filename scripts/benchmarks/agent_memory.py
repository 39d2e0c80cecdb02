"""Resident memory of a workspace's agent: idle, after sessions, after many more."""

from __future__ import annotations

import subprocess

from benchmarks.report import Row, progress
from benchmarks.world import open_world

MB = 1024 * 1024
FIRST, MORE = 10, 100


def run(*, quick: bool) -> list[Row]:
    """MiB of resident memory."""
    more = MORE // 10 if quick else MORE
    with open_world() as world:
        agent = world.agent_process()
        idle = agent.memory_info().rss / MB
        progress(f"{FIRST} sessions")
        _sessions(world.ours, FIRST)
        used = agent.memory_info().rss / MB
        progress(f"{more} more sessions")
        _sessions(world.ours, more)
        later = agent.memory_info().rss / MB
    return [
        Row(name="idle agent", value=idle, unit="MiB", wanted=38),
        Row(name=f"after {FIRST} SSH sessions", value=used, unit="MiB", wanted=75),
        Row(name=f"growth over {more} more", value=later - used, unit="MiB", wanted=2),
    ]


def _sessions(command: list[str], count: int) -> None:
    for _ in range(count):
        subprocess.run(
            [*command, "true"], check=True, stdin=subprocess.DEVNULL, capture_output=True
        )
