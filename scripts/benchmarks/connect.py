"""`ssh WS true`: how long until a command has run, against an OpenSSH bastion."""

from __future__ import annotations

import statistics
import subprocess
import time

from benchmarks.report import Row, progress
from benchmarks.world import open_bastion, open_world

TIMES = 20


def run(*, quick: bool) -> list[Row]:
    """Median milliseconds, the two in turn; and with ControlMaster, shown only."""
    times = 5 if quick else TIMES
    with open_world() as world, open_bastion() as bastion:
        progress("warming up")
        for command in (world.ours, bastion):
            run_once(command)
        progress(f"{times} connections each")
        ours, peer = [], []
        for _ in range(times):
            ours.append(run_once(world.ours))
            peer.append(run_once(bastion))
        shared = [s for s in world.ours if s not in {"-o", "ControlMaster=no", "ControlPath=none"}]
        path = str(world.directory / "mux")
        shared[1:1] = ["-o", "ControlMaster=auto", "-o", f"ControlPath={path}"]
        run_once([shared[0], "-o", "ControlPersist=60", *shared[1:]])
        progress("over ControlMaster")
        muxed = [run_once(shared) for _ in range(times)]
        subprocess.run([*shared[:-1], "-O", "exit", shared[-1]], check=False, capture_output=True)
    return [
        Row(
            name="ssh WS true, median",
            value=statistics.median(ours) * 1000,
            unit="ms",
            peer=statistics.median(peer) * 1000,
            wanted=0.7,
        ),
        Row(name="over ControlMaster", value=statistics.median(muxed) * 1000, unit="ms"),
    ]


def run_once(command: list[str]) -> float:
    """Seconds until `true` has run where the ssh command leads."""
    began = time.perf_counter()
    subprocess.run([*command, "true"], check=True, stdin=subprocess.DEVNULL, capture_output=True)
    return time.perf_counter() - began
