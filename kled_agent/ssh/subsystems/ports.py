"""The SSH subsystem `kled-ports`: reports the listening ports, and again after each change.

What is said is in kled_wire/ssh/subsystems.py.
"""

from __future__ import annotations

from typing import Final

import trio

from kled_agent.machine.ports import ListeningPort, PortReader
from kled_agent.machine.users import LocalUser
from kled_agent.ssh.subsystems.channel import SubsystemSession
from kled_wire.eventlog import EventLog
from kled_wire.ssh.subsystems import ReportedPort, encode_ports

# How often the ports are read: the kernel reports no event for them.
EVERY_S: Final = 1.0


class PortsSession(SubsystemSession):
    """One channel of the subsystem."""

    crashed = "ports_failed"

    def __init__(self, nursery: trio.Nursery, user: LocalUser, log: EventLog) -> None:
        super().__init__(nursery, log)
        self._user = user
        self._reader = PortReader()
        self._ended = trio.Event()

    def ended(self) -> None:
        self._ended.set()

    async def serve(self) -> None:
        told: tuple[ListeningPort, ...] | None = None
        while self._channel is not None:
            ports = await trio.to_thread.run_sync(self._reader.read)
            if ports != told:
                told = ports
                await self.say(encode_ports(self._reported(port) for port in ports))
            if self._ended.is_set():
                break
            with trio.move_on_after(EVERY_S):
                await self._ended.wait()

    def _reported(self, port: ListeningPort) -> ReportedPort:
        return ReportedPort(
            port=port.port,
            addresses=port.addresses,
            process=port.process or "",
            pid=port.pid,
            mine=port.uid == self._user.uid,
        )
