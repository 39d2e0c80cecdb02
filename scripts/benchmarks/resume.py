"""What the resumable layer costs: bulk bytes over loopback, with and without it."""

from __future__ import annotations

import os
import statistics
import sys
import time

import trio
from benchmarks.report import Row, progress

from kled_wire.resume.driver import TransportLost
from kled_wire.resume.state import StreamState
from kled_wire.resume.stream import ResumableStream

BYTES = 2_000_000_000
ROUNDS = 9
BLOCK = bytes(256 * 1024)


def run(*, quick: bool) -> list[Row]:
    """MB/s (10^6 bytes) from one process to another, medians of rounds in turn."""
    size = BYTES // 10 if quick else BYTES
    figures: dict[str, list[float]] = {"ours": [], "peer": []}
    for _ in range(ROUNDS):
        for side, resumable in (("ours", True), ("peer", False)):
            progress(f"{side}, {'resumable' if resumable else 'bare'}")
            figures[side].append(trio.run(_measure, size, resumable))
    return [
        Row(
            name="resumable stream against a bare one",
            value=statistics.median(figures["ours"]),
            unit="MB/s",
            peer=statistics.median(figures["peer"]),
            wanted=0.9,
            at_most=False,
        )
    ]


async def _measure(size: int, resumable: bool) -> float:
    listener = (await trio.open_tcp_listeners(0, host="127.0.0.1"))[0]
    port = listener.socket.getsockname()[1]
    mode = "resumable" if resumable else "bare"
    reader = await trio.lowlevel.open_process(
        [sys.executable, __file__, mode, str(port)], env=_environment()
    )
    async with listener:
        stream = await listener.accept()
    began = time.perf_counter()
    if resumable:
        await _send_resumable(stream, size)
    else:
        for _ in range(size // len(BLOCK)):
            await stream.send_all(BLOCK)
        await stream.send_eof()
        await stream.receive_some()
    took = time.perf_counter() - began
    await stream.aclose()
    await reader.wait()
    return size / took / 1e6


async def _send_resumable(transport: trio.SocketStream, size: int) -> None:
    stream = ResumableStream(StreamState())
    async with trio.open_nursery() as nursery:
        nursery.start_soon(stream.run_transport, transport, 0)
        for _ in range(size // len(BLOCK)):
            await stream.send_all(BLOCK)
        await stream.send_eof()
        while await stream.receive_some():
            pass
        await stream.wait_over()


async def _receive(mode: str, port: int) -> None:
    transport = await trio.open_tcp_stream("127.0.0.1", port)
    if mode == "bare":
        while await transport.receive_some(256 * 1024):
            pass
        await transport.aclose()
        return
    stream = ResumableStream(StreamState())
    async with trio.open_nursery() as nursery:

        async def carry() -> None:
            try:
                await stream.run_transport(transport, 0)
            except TransportLost:
                return

        nursery.start_soon(carry)
        while await stream.receive_some():
            pass
        await stream.send_eof()
        with trio.move_on_after(5):
            await stream.wait_over()
        nursery.cancel_scope.cancel()


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}


if __name__ == "__main__":
    trio.run(_receive, sys.argv[1], int(sys.argv[2]))
