"""Bulk bytes: through Kled and an OpenSSH bastion with real ssh, and the bare relay."""

from __future__ import annotations

import shlex
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.report import Row, progress
from benchmarks.world import open_bastion, open_tls_world, open_world

from kled_coord.relay.splice import handover

BYTES = 1_000_000_000
RAW_BYTES = 4_000_000_000
ROUNDS = 5
RESUMABLE = ("--resume", "always", "--fdpass")


def run(*, quick: bool) -> list[Row]:
    """MB/s (10^6 bytes), medians of rounds in which the two take turns."""
    middle = {name: statistics.median(values) for name, values in _measured(quick=quick).items()}
    rows = (
        ("workspace to client, ssh", "down", "ours", 1.5),
        ("client to workspace, ssh", "up", "ours", 1.5),
        ("files in sftp requests of 4 KiB, to workspace", "requests", "ours", 1 / 1.5),
        # `scripts/bench resume` judges these two, against a bare stream.
        *(
            (f"{label}, {side}", key, side, None)
            for side in ("resumable", "resumable over TLS")
            for label, key in (("workspace to client", "down"), ("client to workspace", "up"))
        ),
        ("relay without ssh, against a direct socket", "raw", "ours", 0.8),
    )
    return [
        Row(
            name=label,
            value=middle[f"{key} {side}"],
            unit="MB/s",
            peer=middle[f"{key} peer"],
            wanted=wanted,
            at_most=False,
        )
        for label, key, side, wanted in rows
    ]


def _measured(*, quick: bool) -> dict[str, list[float]]:
    """MB/s of every round, by what was measured and for which side."""
    size = BYTES // 10 if quick else BYTES
    figures: dict[str, list[float]] = {}
    with open_world() as world, open_tls_world() as secured, open_bastion() as bastion:
        sides = {
            "ours": world.ours_beside_others(),
            "resumable": world.through(*RESUMABLE),
            "resumable over TLS": secured.through(*RESUMABLE),
            "peer": bastion,
        }
        for _ in range(ROUNDS):
            measures = (("down", download), ("up", upload), ("requests", small_requests))
            for name, measure in measures:
                for side, command in sides.items():
                    progress(f"{name}, {side}")
                    figures.setdefault(f"{name} {side}", []).append(measure(command, size))
    for _ in range(ROUNDS):
        for side, join in (("ours", _through_relay), ("peer", _directly)):
            progress(f"raw, {side}")
            amount = RAW_BYTES // 10 if quick else RAW_BYTES
            figures.setdefault(f"raw {side}", []).append(_raw(join, amount))
    return figures


def download(command: list[str], size: int) -> float:
    """MB/s of `size` bytes from where the ssh command leads."""
    return _timed([*command, f"head -c {size} /dev/zero"], size)


def upload(command: list[str], size: int) -> float:
    """MB/s of `size` bytes to where the ssh command leads."""
    with subprocess.Popen(["head", "-c", str(size), "/dev/zero"], stdout=subprocess.PIPE) as source:
        return _timed([*command, "cat > /dev/null"], size, source.stdout)


def small_requests(command: list[str], size: int) -> float:
    """MB/s of a fiftieth of `size` as a file, in as many small requests as a client may have."""
    size //= 50
    with tempfile.TemporaryDirectory() as directory:
        source, batch = Path(directory, "source"), Path(directory, "batch")
        source.write_bytes(bytes(size))
        batch.write_text(f"put {source} {directory}/target\n")
        *ssh, host = command
        sftp = ["sftp", "-q", "-B", "4096", "-R", "2048", "-b", str(batch)]
        return _timed([*sftp, "-D", shlex.join([*ssh, "-s", host, "sftp"])], size)


def _timed(command: list[str], size: int, stdin: object = subprocess.DEVNULL) -> float:
    began = time.perf_counter()
    subprocess.run(command, check=True, stdin=stdin, stdout=subprocess.DEVNULL)  # type: ignore[call-overload]
    return size / (time.perf_counter() - began) / 1e6


Join = Callable[[], "Iterator[tuple[socket.socket, socket.socket]]"]


def _raw(join: Join, size: int) -> float:
    """One process writes into a socket, another reads what comes out at the far end."""
    with contextmanager(join)() as (source, sink):
        began = time.perf_counter()
        reader = subprocess.Popen(
            ["dd", "of=/dev/null", "bs=1M", "status=none"], stdin=sink.fileno()
        )
        writer = subprocess.Popen(["head", "-c", str(size), "/dev/zero"], stdout=source.fileno())
        sink.close()
        writer.wait()
        source.shutdown(socket.SHUT_WR)
        source.close()
        reader.wait()
        return size / (time.perf_counter() - began) / 1e6


def _directly() -> Iterator[tuple[socket.socket, socket.socket]]:
    yield _connected()


def _through_relay() -> Iterator[tuple[socket.socket, socket.socket]]:
    """The relay process as the coordinator starts it, handed one pair of sockets."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "kled_coord.relay.splice.splicer", str(theirs.fileno())],
        pass_fds=[theirs.fileno()],
    )
    theirs.close()
    source, client = _connected()
    sink, agent = _connected()
    opened = handover.Open(1, 0, 0).encode()
    socket.send_fds(ours, [opened], [client.fileno(), agent.fileno()])
    client.close()
    agent.close()
    try:
        yield source, sink
    finally:
        ours.send(handover.StopRelay().encode())
        process.wait()
        ours.close()


def _connected() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        accepted: list[socket.socket] = []
        thread = threading.Thread(target=lambda: accepted.append(listener.accept()[0]))
        thread.start()
        made = socket.create_connection(listener.getsockname())
        thread.join()
    return made, accepted[0]
