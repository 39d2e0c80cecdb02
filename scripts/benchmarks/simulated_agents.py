"""Agents that speak the real control protocol and do nothing else, in a process of their own.

`simulated_agents.py PORT TOKEN_FILE REPORT_S`; prints `connected SECONDS` once all are welcomed.
"""

from __future__ import annotations

import resource
import sys
import time
from pathlib import Path

import trio
import trio_websocket

from kled_wire import limits
from kled_wire.control import messages
from kled_wire.control.link import ControlLink
from kled_wire.version import PROTOCOL

AT_ONCE = 64


async def simulate(
    port: int,
    token: str,
    report_s: float,
    phase: float,
    gate: trio.CapacityLimiter,
    nursery: trio.Nursery,
    *,
    task_status: trio.TaskStatus[None],
) -> None:
    """One agent: hello, then reports and heartbeats for ever."""
    async with gate:
        stream = await trio.open_tcp_stream("127.0.0.1", port)
        connection = await trio_websocket.wrap_client_stream(
            nursery,
            stream,
            f"127.0.0.1:{port}",
            "/api/v1/agent/control",
            extra_headers=[(b"authorization", f"Bearer {token}".encode())],
            message_queue_size=1,
        )
        link = ControlLink(connection)
        await link.send(messages.Hello(protocol=PROTOCOL, version="bench"))
        welcome = await link.receive()
        assert isinstance(welcome, messages.Welcome)
    task_status.started()
    nursery.start_soon(_beat, link, phase)
    nursery.start_soon(_report, link, report_s, phase)
    while True:
        await link.receive()


async def _beat(link: ControlLink, phase: float) -> None:
    await trio.sleep(phase * limits.HEARTBEAT_S)
    while True:
        await link.ping()
        await trio.sleep(limits.HEARTBEAT_S)


async def _report(link: ControlLink, every_s: float, phase: float) -> None:
    await trio.sleep(phase * every_s)
    while True:
        await link.send(messages.Report(memory_total_bytes=8 << 30, memory_used_bytes=1 << 30))
        await trio.sleep(every_s)


async def main(port: int, tokens: list[str], report_s: float) -> None:
    """Connect them all, then stay."""
    gate = trio.CapacityLimiter(AT_ONCE)
    async with trio.open_nursery() as nursery:
        began = time.perf_counter()
        async with trio.open_nursery() as starting:
            for number, token in enumerate(tokens):
                starting.start_soon(
                    nursery.start,
                    simulate,
                    port,
                    token,
                    report_s,
                    number / len(tokens),
                    gate,
                    nursery,
                )
        print(f"connected {time.perf_counter() - began}", flush=True)


if __name__ == "__main__":
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    trio.run(main, int(sys.argv[1]), Path(sys.argv[2]).read_text().split(), float(sys.argv[3]))
