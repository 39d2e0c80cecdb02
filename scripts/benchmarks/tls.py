"""TLS that ends at the coordinator, against nginx in front of one on plain HTTP.

Both are whole sites on loopback, whose agent and client come over https. nginx is configured as
docs/examples/nginx.conf, with two workers, as ours has up to a process per core. What a load on the
API makes of an echo is shown against nginx under the same load, and against an idle site: on two
cores the load's own programs are much of that.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TypeVar

from benchmarks.connect import run_once
from benchmarks.echo import open_terminal, type_keys
from benchmarks.relay import download, upload
from benchmarks.report import Row, percentile, progress
from benchmarks.world import World, free_port, open_tls_world, open_world

from tests.kit.authority import issue
from tests.kit.nginx import nginx

BYTES = 500_000_000
ROUNDS = 6
CONNECTIONS = 5
TYPING_S = 3.0
WARM_UP_KEYS = 50
# The clock is looked at after so many.
KEYS_AT_ONCE = 10
CLIENTS = 4
API_LOAD = Path(__file__).with_name("api_load.py")
WORKERS = 2

# What was measured, by side.
Taken = dict[str, list[float]]
Of = TypeVar("Of")


def run(*, quick: bool) -> list[Row]:
    """Medians of rounds in which the two take turns."""
    with _open_sites() as sites:
        down, up = _transfers(sites, BYTES // 10 if quick else BYTES)
        connect = _connections(sites, 2 if quick else CONNECTIONS)
        echo = _echoes(sites, TYPING_S / 5 if quick else TYPING_S)
    return [
        _row("workspace to client, ssh", "MB/s", down, at_most=False),
        _row("client to workspace, ssh", "MB/s", up, at_most=False),
        _row("echo p50", "us", echo["p50"]),
        _row("echo p99", "us", echo["p99"]),
        _row("ssh WS true, median", "ms", connect),
        _row("echo p99 beside API load", "us", echo["p99 beside"]),
        *(
            Row(
                name=f"{side}, echo p99 beside API load, against none",
                value=statistics.median(echo["p99 beside"][side]),
                unit="us",
                peer=statistics.median(echo["p99"][side]),
            )
            for side in sites
        ),
        _row(f"API, of {CLIENTS} clients meanwhile", "requests/s", echo["API"], at_most=False),
    ]


def _row(name: str, unit: str, taken: Taken, *, at_most: bool = True) -> Row:
    ours, peer = (statistics.median(taken[side]) for side in ("ours", "nginx"))
    return Row(name=name, value=ours, unit=unit, peer=peer, at_most=at_most)


def _transfers(sites: Mapping[str, World], size: int) -> tuple[Taken, Taken]:
    """MB/s down and up. Before there is a terminal: typing has priority over bulk in one."""
    down: Taken = {side: [] for side in sites}
    up: Taken = {side: [] for side in sites}
    for number in range(ROUNDS):
        progress(f"transfers, round {number + 1} of {ROUNDS}")
        for side, world in _in_turn(sites, number):
            down[side].append(download(world.ours_beside_others(), size))
        for side, world in _in_turn(sites, number):
            up[side].append(upload(world.ours_beside_others(), size))
    return down, up


def _connections(sites: Mapping[str, World], times: int) -> Taken:
    taken: Taken = {side: [] for side in sites}
    for number in range(ROUNDS):
        progress(f"connections, round {number + 1} of {ROUNDS}")
        for _ in range(times):
            for side, world in _in_turn(sites, number):
                taken[side].append(run_once(world.ours_beside_others()) * 1000)
    return taken


def _echoes(sites: Mapping[str, World], typing_s: float) -> dict[str, Taken]:
    """Microseconds of a keystroke, percentiles of each round; requests a second of the load."""
    kinds = ("p50", "p99", "p99 beside", "API")
    taken: dict[str, Taken] = {kind: {side: [] for side in sites} for kind in kinds}
    tokens = {side: world.kled("token", "create", "bench") for side, world in sites.items()}
    with ExitStack() as stack:
        terminals = {
            side: stack.enter_context(open_terminal(world.ours_beside_others()))
            for side, world in sites.items()
        }
        for terminal in terminals.values():
            type_keys(terminal, WARM_UP_KEYS)
        for number in range(ROUNDS):
            progress(f"echo, round {number + 1} of {ROUNDS}")
            for side, terminal in _in_turn(terminals, number):
                alone = _type_for(terminal, typing_s)
                taken["p50"][side].append(percentile(alone, 0.5))
                taken["p99"][side].append(percentile(alone, 0.99))
            for side, terminal in _in_turn(terminals, number):
                with _api_load(sites[side], tokens[side], taken["API"][side]):
                    beside = _type_for(terminal, typing_s)
                taken["p99 beside"][side].append(percentile(beside, 0.99))
    return taken


def _in_turn(by_side: Mapping[str, Of], number: int) -> list[tuple[str, Of]]:
    """Who is first changes from round to round: what went before may still be felt."""
    return list(by_side.items())[:: -1 if number % 2 else 1]


def _type_for(terminal: int, seconds: float) -> list[float]:
    taken: list[float] = []
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        taken += type_keys(terminal, KEYS_AT_ONCE)
    return taken


@contextmanager
def _api_load(world: World, token: str, rates: list[float]) -> Iterator[None]:
    """Clients ask the API for as long as the block lasts; then adds how many a second it did."""
    with subprocess.Popen(
        [sys.executable, str(API_LOAD), world.url, str(CLIENTS)],
        env=world.environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(f"{token.strip()}\n")
        process.stdin.flush()
        try:
            if process.stdout.readline() != "asking\n":
                raise RuntimeError("the load on the API did not start")
            yield
            process.stdin.close()
            rates.append(float(process.stdout.readline()))
        finally:
            process.kill()


@contextmanager
def _open_sites() -> Iterator[dict[str, World]]:
    """Ours, where TLS ends at the coordinator, and one behind nginx."""
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="kled-tls-")))
        certificates = issue(directory)
        trust = {"SSL_CERT_FILE": str(certificates.authority)}
        front, target = free_port(), free_port()
        stack.enter_context(
            nginx(
                directory / "nginx",
                port=front,
                target=target,
                certificates=certificates,
                workers=WORKERS,
            )
        )
        behind = {
            **trust,
            "KLED_COORD_TRUSTED_PROXIES": "127.0.0.1",
            "KLED_COORD_PORT": str(target),
            "KLED_COORD_ACCESS_URL": f"https://localhost:{front}",
        }
        yield {
            "ours": stack.enter_context(open_tls_world()),
            "nginx": stack.enter_context(open_world(environment=behind, agent=trust)),
        }
