"""The SSH server of a small agent, on asyncio."""

from __future__ import annotations

import asyncio
import contextlib
import sys

import asyncssh

from kled_wire.ssh.subsystems import SYNC


class Paused(asyncio.Protocol):
    """What comes waits in the socket for the protocol that follows this one."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.ReadTransport)
        transport.pause_reading()


class Agent(asyncssh.SSHServer):
    def connection_requested(
        self, dest_host: str, dest_port: int, orig_host: str, orig_port: int
    ) -> bool:
        return True

    def begin_auth(self, username: str) -> bool:
        return True


async def run_process(process: asyncssh.SSHServerProcess[bytes]) -> None:
    """Run the command as a real shell would, on pipes; with a terminal, tell about it."""
    if process.term_type and not process.command:
        columns, rows, *_ = process.term_size
        process.stdout.write(f"{process.term_type} {columns}x{rows}\r\n".encode())
        while data := await process.stdin.read(4096):
            process.stdout.write(data)
            if b"q" in data:
                break
        process.exit(0)
        return
    argv: tuple[str, ...] = ("sh", "-c", process.command or "cat")
    if process.subsystem == SYNC:
        argv = (sys.executable, "-P", "-m", "kled_sync")
    local = await asyncio.create_subprocess_exec(
        *argv,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert local.stdin is not None
    assert local.stdout is not None
    assert local.stderr is not None
    feeding = asyncio.create_task(feed(process, local.stdin))
    await asyncio.gather(drain(local.stdout, process.stdout), drain(local.stderr, process.stderr))
    status = await local.wait()
    feeding.cancel()
    await asyncio.gather(feeding, return_exceptions=True)
    if status < 0:
        process.exit_with_signal({-15: "TERM", -9: "KILL"}[status])
    else:
        process.exit(status)


async def feed(process: asyncssh.SSHServerProcess[bytes], sink: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await process.stdin.read(65536):
            sink.write(data)
            await sink.drain()
    sink.close()


async def drain(source: asyncio.StreamReader, sink: asyncssh.SSHWriter[bytes]) -> None:
    while data := await source.read(65536):
        sink.write(data)
        await sink.drain()
