"""Thousands of idle agents on one coordinator process: memory, connect rate, CPU."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import psutil
import trio
from benchmarks.report import Row, progress
from benchmarks.world import World, open_world

from kled_coord.app import open_services, real_sources
from kled_coord.config import CoordinatorConfig
from kled_wire.names import WorkspaceId

AGENTS = 5000
REPORT_S = 10.0
STEADY_S = 30.0
KB = 1024
SIMULATED = Path(__file__).with_name("simulated_agents.py")


def run(*, quick: bool) -> list[Row]:
    """KB (1024 bytes) an agent, agents a second, percent of one core."""
    count = AGENTS // 10 if quick else AGENTS
    with open_world() as world:
        progress(f"making {count} agents")
        tokens = world.directory / "tokens"
        tokens.write_text("\n".join(trio.run(_make_agents, world, count)))
        process = psutil.Process(world.coordinator)
        before, idle = process.memory_info().rss, _cpu_seconds(process)
        progress("connecting")
        port = world.environment["KLED_COORD_PORT"]
        agents = subprocess.Popen(
            [sys.executable, str(SIMULATED), port, str(tokens), str(REPORT_S)],
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            assert agents.stdout is not None
            took_s = float(agents.stdout.readline().split()[1])
            connecting = _cpu_seconds(process) - idle
            progress(f"steady for {STEADY_S:.0f} s")
            time.sleep(REPORT_S)  # one report from each
            busy = _cpu_seconds(process)
            time.sleep(STEADY_S)
            share = (_cpu_seconds(process) - busy) / STEADY_S
            memory = (process.memory_info().rss - before) / count / KB
        finally:
            agents.kill()
            agents.wait()
    return [
        Row(name=f"memory an idle agent, {count} agents", value=memory, unit="KB", wanted=30),
        Row(name="connect rate", value=count / took_s, unit="agents/s"),
        Row(name="CPU for each that connects", value=connecting / count * 1000, unit="ms"),
        Row(
            name=f"CPU at a report per {REPORT_S:.0f} s each", value=share * 100, unit="% of a core"
        ),
    ]


def _cpu_seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


async def _make_agents(world: World, count: int) -> list[str]:
    """Tokens of new agents of the workspace, written into the running coordinator's store."""
    workspace_id = WorkspaceId(json.loads(world.kled("--output", "json", "show", "bench"))["id"])
    config = CoordinatorConfig(data_dir=Path(world.environment["KLED_COORD_DATA_DIR"]))
    async with open_services(config, real_sources(config)) as services:
        return [
            (await services.agents.ensure(workspace_id, f"agent-{number}"))[1]
            for number in range(count)
        ]
