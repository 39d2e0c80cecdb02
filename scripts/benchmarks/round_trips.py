"""`ssh WS true` from far away: how often it waits for the way, against an OpenSSH bastion.

The client is in a network namespace behind a link with 50 ms of round trip (tests/kit/slowlink.py,
which stands in for tc netem). What a command takes there, less what it takes with no delay, divided
by the round trip, is how many round trips it waits for.
"""

from __future__ import annotations

import statistics
import subprocess
import time

from benchmarks.report import Row, progress
from benchmarks.world import open_bastion, open_world

from tests.kit.network import Namespace, open_network
from tests.kit.slowlink import slow_link, why_not

TIMES = 9
RTT_MS = 50.0
HERE, FAR = "192.0.2.1", "192.0.2.2"


def run(*, quick: bool) -> list[Row]:
    """Round trips and milliseconds, medians, the two in turn."""
    if problem := why_not():
        raise SystemExit(f"scripts/bench round-trips: {problem}")
    times = 3 if quick else TIMES
    with open_network() as network:
        site, client = network.add("site"), network.add("client")
        with (
            slow_link(site, client, (f"{HERE}/24",), (f"{FAR}/24",)) as link,
            site.entered(),
            open_world(host=HERE) as world,
            open_bastion(HERE) as bastion,
        ):
            commands = (world.ours, bastion)
            progress("without delay")
            near = _medians(client, commands, times)
            link.set(delay_ms=RTT_MS / 2)
            progress(f"{RTT_MS:.0f} ms away")
            far = _medians(client, commands, times)
            return _rows(near, far)


def _rows(near: list[float], far: list[float]) -> list[Row]:
    ours, peer = (round((f - n) / RTT_MS, 1) for f, n in zip(far, near, strict=True))
    return [
        Row(name="ssh WS true, round trips", value=ours, unit="", peer=peer, wanted=0.99),
        Row(
            name=f"ssh WS true, {RTT_MS:.0f} ms away",
            value=far[0],
            unit="ms",
            peer=far[1],
            wanted=0.99,
        ),
        Row(name="ssh WS true, no delay", value=near[0], unit="ms", peer=near[1]),
    ]


def _medians(client: Namespace, commands: tuple[list[str], ...], times: int) -> list[float]:
    with client.entered():
        for command in commands:
            _once(command)
        taken = [[_once(command) for command in commands] for _ in range(times)]
    return [statistics.median(column) for column in zip(*taken, strict=True)]


def _once(command: list[str]) -> float:
    """Milliseconds."""
    began = time.perf_counter()
    subprocess.run([*command, "true"], check=True, stdin=subprocess.DEVNULL, capture_output=True)
    return (time.perf_counter() - began) * 1000
