"""The agent's bundle: size, time from its script to a shell, and memory and start of its agent.

The peer is the same agent from the virtual environment that this runs in, on the same machine.
"""

from __future__ import annotations

import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil
from benchmarks.report import Row, progress
from benchmarks.world import World, open_world, program

from tests.kit.container_site import make_bundle

MB = 1e6
_TEMPLATE = """
terraform {
  required_providers {
    kled = { source = "kled/kled" }
  }
}
resource "kled_agent" "main" {}
output "init_script" { value = kled_agent.main.init_script }
"""
# Until the kernel and the agent have done what they do once.
_SETTLE_S = 3.0
_DEADLINE_S = 120.0


def run(*, quick: bool) -> list[Row]:
    """Measure; raises RuntimeError, OSError, CalledProcessError."""
    times = 2 if quick else 7
    with tempfile.TemporaryDirectory(prefix="kled-bundle-bench-") as name:
        progress("building the bundle")
        packed = make_bundle(Path(name) / "made")
        with open_world(workspace=False) as world:
            bench = _Bench(world, Path(name), packed)
            rows = [
                Row(name="size of the .tar.gz", value=packed.stat().st_size / MB, unit="MB",
                    wanted=20),
            ]  # fmt: skip
            rows += bench.measure_script(times)
            rows += bench.measure_memory()
            rows.append(bench.measure_start(times))
    return rows


class _Bench:
    """A workspace whose agent is started by hand, in one way or another."""

    def __init__(self, world: World, directory: Path, packed: Path) -> None:
        self._world = world
        self._home = directory / "home"
        self._home.mkdir()
        command = [program("kled-coord"), "bundle", "add", str(packed)]
        subprocess.run(command, env=world.environment, check=True, capture_output=True)
        template = directory / "template"
        template.mkdir()
        (template / "main.tf").write_text(_TEMPLATE)
        world.kled("template", "push", str(template), "--name", "machine")
        world.kled("create", world.workspace, "--template", "machine", "--wait=no")
        made = json.loads(world.kled("token", "create", "bench", "--output", "json"))
        headers = {"Authorization": f"Bearer {made['token']}"}
        self._client = httpx.Client(headers=headers, timeout=60, trust_env=False)
        self._script = self._wait_script()
        token = directory / "token"
        words = ("workspace", "agent-token", world.workspace, "--output-file", str(token))
        world.kled(*words)
        self._variables = {
            **dict(line.split("=", 1) for line in token.read_text().split()),
            "HOME": str(self._home),
            "KLED_AGENT_STATE_DIR": str(directory / "state"),
            "KLED_AGENT_SHELL": "/bin/sh",
            "KLED_AGENT_CACHE": str(self._home / "cache"),
            "PATH": os.environ["PATH"],
        }

    def _wait_script(self) -> str:
        deadline = time.monotonic() + _DEADLINE_S
        while time.monotonic() < deadline:
            shown = json.loads(self._world.kled("show", self._world.workspace, "-o", "json"))
            if found := (shown["outputs"] or {}).get("init_script"):
                return str(found["value"])
            time.sleep(0.2)
        raise RuntimeError("the workspace's first build has not ended")

    def measure_script(self, times: int) -> list[Row]:
        """From `init_script` to the first command in a shell, fetched and from the cache."""
        cold, cached = [], []
        for number in range(times):
            progress(f"init_script to a shell, {number + 1} of {times}")
            subprocess.run(["rm", "-rf", str(self._home / "cache")], check=True)
            cold.append(self._time_to_shell())
            cached.append(self._time_to_shell())
        return [
            Row(name="init_script to a shell, cold", value=statistics.median(cold), unit="s"),
            Row(name="init_script to a shell, cached", value=statistics.median(cached), unit="s"),
        ]

    def _time_to_shell(self) -> float:
        began = time.monotonic()
        with self._running(["/bin/sh", "-c", self._script]):
            while not self._has_shell():
                if time.monotonic() - began > _DEADLINE_S:
                    raise RuntimeError("init_script leads to no shell")
            return time.monotonic() - began

    def _has_shell(self) -> bool:
        command = [*self._world.ours, "true"]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0

    def measure_memory(self) -> list[Row]:
        """Resident memory of an idle agent."""
        progress("memory")
        ours, peer = (self._idle_bytes(argv) for argv in self._agents())
        return [
            Row(name="idle agent", value=ours / MB, unit="MB", peer=peer / MB, wanted=1.1),
            Row(name="idle agent, in all", value=ours / MB, unit="MB", wanted=40),
        ]

    def _idle_bytes(self, argv: Sequence[str]) -> int:
        with self._running(argv) as process:
            self._wait_connected(connected=True)
            time.sleep(_SETTLE_S)
            return int(psutil.Process(process.pid).memory_info().rss)

    def measure_start(self, times: int) -> Row:
        """From the start of the agent's program to its link."""
        took: dict[str, list[float]] = {}
        for number in range(times):
            progress(f"start of the agent, {number + 1} of {times}")
            for argv in self._agents():
                began = time.monotonic()
                with self._running(argv):
                    self._wait_connected(connected=True)
                    took.setdefault(argv[0], []).append(time.monotonic() - began)
        ours, peer = (statistics.median(each) for each in took.values())
        return Row(name="start to the link", value=ours, unit="s", peer=peer, wanted=1.5)

    def _agents(self) -> tuple[list[str], list[str]]:
        """The bundle's, which the script has left in the cache, and the virtual environment's."""
        (bundle,) = (self._home / "cache").glob("*/kled-agent/bin/kled-agent")
        return [str(bundle), "run"], [sys.executable, "-m", "kled_agent", "run"]

    @contextmanager
    def _running(self, argv: Sequence[str]) -> Iterator[subprocess.Popen[bytes]]:
        process = subprocess.Popen(
            argv, env=self._variables, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(_DEADLINE_S)
            self._wait_connected(connected=False)

    def _wait_connected(self, *, connected: bool) -> None:
        """Ask the API again and again: the same for both, and as coarse."""
        url = f"{self._world.url}/api/v1/workspaces/{self._world.workspace}"
        deadline = time.monotonic() + _DEADLINE_S
        while time.monotonic() < deadline:
            done = self._client.get(url).json()
            if ((done["agent"] or {}).get("status") == "connected") is connected:
                return
            time.sleep(0.005)
        raise RuntimeError(f"the agent is {'not ' if connected else 'still '}connected")
