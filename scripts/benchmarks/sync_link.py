"""File sync over a slow link, 20 ms of round trip and 100 Mbit/s, against rsync over the same.

The link is `tests/kit/slowlink.py`, whose process shares the processors with both: its seconds are
a row of their own.
"""

from __future__ import annotations

import os
from pathlib import Path

import psutil
from benchmarks.report import Row, progress
from benchmarks.sync_world import Bench, change, make_tree, open_bench, rows_of

from tests.kit.network import Namespace, open_network
from tests.kit.slowlink import slow_link, why_not

DELAY_MS, RATE_MBIT, MTU = 10.0, 100.0, 9000
HERE, FAR = "192.0.2.1", "192.0.2.2"
_LARGE_MIB = 64


def slow_link_rows(files: int) -> list[Row]:
    """A tree of `files` files, and one large file; none where there can be no such link."""
    if problem := why_not():
        progress(f"no slow link: {problem}")
        return []
    with open_network() as network:
        site, client = network.add("site"), network.add("client")
        with (
            slow_link(site, client, (f"{HERE}/24",), (f"{FAR}/24",), mtu=MTU) as link,
            site.entered(),
            open_bench(HERE) as bench,
        ):
            link.set(delay_ms=DELAY_MS, rate_mbit=RATE_MBIT)
            rows = _rows(bench, client, files)
            return [*rows, Row(name="the link's own process", value=_carrier(), unit="s")]


def _carrier() -> float:
    """Seconds of the processor that the link has taken."""
    for child in psutil.Process().children():
        if any("slowlink_carrier" in word for word in child.cmdline()):
            times = child.cpu_times()
            return float(times.user + times.system)
    return 0.0


def _rows(bench: Bench, client: Namespace, files: int) -> list[Row]:
    tree, large = bench.home / "tree", bench.home / "large"
    make_tree(tree, files)
    large.mkdir()
    _write_text(large / "file")
    name = f"{2 * DELAY_MS:.0f} ms, {RATE_MBIT:.0f} Mbit/s"
    with client.entered():
        both = bench.both(tree, "tree")
        rows = rows_of(f"{name}: {files} small files", both, 0.5)
        compressed = bench.rsync("-z", f"{tree}/", f"bastion:{bench.home}/compressed/")
        rows += rows_of("the same, the peer is rsync -z", (both[0], compressed), None)
        change(tree, files // 100)
        rows += rows_of(f"{name}: 1 % changed", bench.both(tree, "tree"), None)
        rows += rows_of(f"{name}: {_LARGE_MIB} MiB of text", bench.both(large, "large"), 1.0)
    return rows


def _write_text(path: Path) -> None:
    with path.open("wb") as file:
        for _ in range(_LARGE_MIB):
            file.write(os.urandom(512 * 1024).hex().encode())
