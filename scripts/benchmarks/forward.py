"""TCP through one `kled forward`, against `ssh -L` through an OpenSSH bastion.

One connection with much in it, down and up, and a thousand that are open at once. Memory is that
of the forwarding programs on this side, the thousand connections open.
"""

from __future__ import annotations

import resource
import selectors
import socket
import statistics
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import psutil
from benchmarks.report import Row, progress
from benchmarks.world import free_port, open_bastion, open_world, program, wait_port

BYTES = 500_000_000
ROUNDS = 3
CONNECTIONS = 1000
# What each of the many sends and wants back.
ASKED_BYTES = 1000
DEADLINE_S = 60.0
WANTED = 0.8


@dataclass(frozen=True, slots=True)
class Way:
    """One forward that is up: where it listens, what it leads to, whose memory it takes."""

    port: int
    target: socket.socket
    process: subprocess.Popen[bytes]

    def memory_mb(self) -> float:
        """Of the program and what it started."""
        ours = psutil.Process(self.process.pid)
        found = [p.memory_info().rss for p in (ours, *ours.children(recursive=True))]
        return float(sum(found)) / 1e6


def run(*, quick: bool) -> list[Row]:
    """MB/s, seconds and MB; medians of rounds in which the two take turns."""
    _raise_file_limit()
    size = BYTES // 5 if quick else BYTES
    figures: dict[str, list[float]] = {}
    with ExitStack() as stack:
        world, bastion = stack.enter_context(open_world()), stack.enter_context(open_bastion())
        ours = [program("kled"), "forward", world.workspace]
        peer = [*bastion[:-1], "-N", "-L"]
        ways = {
            "ours": lambda spec: [*ours, spec],
            "peer": lambda spec: [*peer, spec, bastion[-1]],
        }
        up = {side: stack.enter_context(_forward(make)) for side, make in ways.items()}
        for _ in range(ROUNDS):
            for name, measure in (("down", _down), ("up", _up)):
                for side, way in up.items():
                    progress(f"{name}, {side}")
                    figures.setdefault(f"{name} {side}", []).append(measure(way, size))
        for _ in range(ROUNDS):
            for side, way in up.items():
                progress(f"{CONNECTIONS} connections, {side}")
                taken, memory = _many(way, CONNECTIONS)
                figures.setdefault(f"many {side}", []).append(taken)
                figures.setdefault(f"memory {side}", []).append(memory)
    return _rows({name: statistics.median(values) for name, values in figures.items()})


def _rows(middle: dict[str, float]) -> list[Row]:
    rows = (
        ("workspace to client", "down", "MB/s", WANTED),
        ("client to workspace", "up", "MB/s", WANTED),
        (f"{CONNECTIONS} connections at once, opened and answered", "many", "s", None),
        ("memory of the forward on this side, all open", "memory", "MB", None),
    )
    return [
        Row(
            name=label,
            value=middle[f"{key} ours"],
            unit=unit,
            peer=middle[f"{key} peer"],
            wanted=wanted,
            at_most=False,
        )
        for label, key, unit, wanted in rows
    ]


@contextmanager
def _forward(command: Callable[[str], list[str]]) -> Iterator[Way]:
    """A forward to a listener of ours; its command is made from what is to be forwarded."""
    port = free_port()
    with socket.create_server(("127.0.0.1", 0), backlog=CONNECTIONS) as target:
        argv = command(f"{port}:127.0.0.1:{target.getsockname()[1]}")
        with subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as process:
            try:
                wait_port(port)
                target.accept()[0].close()  # what asked whether it listens
                yield Way(port, target, process)
            finally:
                process.terminate()


def _down(way: Way, size: int) -> float:
    here, there = _connected(way)
    return _timed(there, here, size)


def _up(way: Way, size: int) -> float:
    here, there = _connected(way)
    return _timed(here, there, size)


def _connected(way: Way) -> tuple[socket.socket, socket.socket]:
    here = socket.create_connection(("127.0.0.1", way.port))
    return here, way.target.accept()[0]


def _timed(source: socket.socket, sink: socket.socket, size: int) -> float:
    """One program writes into a socket, another reads what comes out at the far end."""
    with source, sink:
        began = time.perf_counter()
        with (
            subprocess.Popen(
                ["dd", "of=/dev/null", "bs=1M", "status=none"], stdin=sink.fileno()
            ) as reader,
            subprocess.Popen(
                ["head", "-c", str(size), "/dev/zero"], stdout=source.fileno()
            ) as writer,
        ):
            writer.wait()
            source.shutdown(socket.SHUT_WR)
            reader.wait()
        return size / (time.perf_counter() - began) / 1e6


def _many(way: Way, count: int) -> tuple[float, float]:
    """Seconds until all of `count` connections are open and answered, and MB of memory then."""
    stop = threading.Event()
    echo = threading.Thread(target=_echo, args=(way.target, stop))
    echo.start()
    links: list[socket.socket] = []
    try:
        began = time.perf_counter()
        for number in range(count):
            link = socket.create_connection(("127.0.0.1", way.port), DEADLINE_S)
            links.append(link)
            link.sendall(_question(number))
        for number, link in enumerate(links):
            if _answer(link) != _question(number):
                raise RuntimeError(f"connection {number} got a wrong answer")
        return time.perf_counter() - began, way.memory_mb()
    finally:
        for link in links:
            link.close()
        stop.set()
        echo.join()


def _question(number: int) -> bytes:
    return (b"%d " % number).ljust(ASKED_BYTES, b".")


def _answer(link: socket.socket) -> bytes:
    got = b""
    while len(got) < ASKED_BYTES and (data := link.recv(ASKED_BYTES - len(got))):
        got += data
    return got


def _echo(target: socket.socket, stop: threading.Event) -> None:
    """Accept and answer all connections at once, until all have ended after `stop`."""
    links = 0
    with selectors.DefaultSelector() as selector:
        selector.register(target, selectors.EVENT_READ)
        while links or not stop.is_set():
            for key, _ in selector.select(0.05):
                link = key.fileobj
                assert isinstance(link, socket.socket)
                if link is target:
                    selector.register(target.accept()[0], selectors.EVENT_READ)
                    links += 1
                elif data := link.recv(ASKED_BYTES):
                    link.sendall(data)
                else:
                    selector.unregister(link)
                    link.close()
                    links -= 1


def _raise_file_limit() -> None:
    """Each connection is a descriptor here, at both ends, and in the programs between."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
