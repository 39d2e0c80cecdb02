"""The SSH subsystem `kled-ports`: reports the listening ports, and again after each change.

What is said is in kled_wire/ssh/subsystems.py.
"""

from __future__ import annotations

from typing import Final

import asyncssh
import trio

from kled_agent.ports import ListeningPort, PortReader
from kled_agent.users import LocalUser
from kled_wire.eventlog import EventLog
from kled_wire.ssh.subsystems import ReportedPort, encode_ports

# What the kernel has no event for.
EVERY_S: Final = 1.0


class PortsSession(asyncssh.SSHServerSession[bytes]):
    """One channel of the subsystem."""

    def __init__(self, nursery: trio.Nursery, user: LocalUser, log: EventLog) -> None:
        self._log = log
        self._nursery = nursery
        self._user = user
        self._reader = PortReader()
        self._channel: asyncssh.SSHServerChannel[bytes] | None = None
        self._ended = trio.Event()
        self._room = trio.Event()
        self._room.set()

    def connection_made(self, chan: asyncssh.SSHServerChannel[bytes]) -> None:
        self._channel = chan

    def session_started(self) -> None:
        self._nursery.start_soon(self._run)

    def data_received(self, data: bytes, datatype: asyncssh.DataType) -> None:
        """There is nothing to say to us."""

    def eof_received(self) -> bool:
        self._ended.set()
        return True

    def pause_writing(self) -> None:
        self._room = trio.Event()

    def resume_writing(self) -> None:
        self._room.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self._channel = None
        self._ended.set()
        self._room.set()

    async def _run(self) -> None:
        try:
            await self._tell()
        except* Exception as group:  # noqa: BLE001 - the supervisor of one channel
            self._log.crash("ports_failed", group)
            if self._channel is not None:
                self._channel.abort()

    async def _tell(self) -> None:
        told: tuple[ListeningPort, ...] | None = None
        while self._channel is not None:
            ports = await trio.to_thread.run_sync(self._reader.read)
            if ports != told:
                told = ports
                await self._room.wait()
                self._say(ports)
            if self._ended.is_set():
                break
            with trio.move_on_after(EVERY_S):
                await self._ended.wait()
        if self._channel is not None:
            self._channel.exit(0)

    def _say(self, ports: tuple[ListeningPort, ...]) -> None:
        if self._channel is not None:
            self._channel.write(encode_ports(self._reported(port) for port in ports))

    def _reported(self, port: ListeningPort) -> ReportedPort:
        return ReportedPort(
            port=port.port,
            addresses=port.addresses,
            process=port.process or "",
            pid=port.pid,
            mine=port.uid == self._user.uid,
        )
