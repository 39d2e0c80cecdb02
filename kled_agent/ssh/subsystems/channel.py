"""Serves one channel of a subsystem in a task of the agent's, and ends the channel with it."""

from __future__ import annotations

from abc import ABC, abstractmethod

import asyncssh
import trio

from kled_wire.eventlog import EventLog


class SubsystemSession(asyncssh.SSHServerSession[bytes], ABC):
    """What the subsystems have in common; `serve` is what each does.

    A bug in it ends this channel alone, and is logged as the event `crashed`.
    """

    crashed: str

    def __init__(self, nursery: trio.Nursery, log: EventLog) -> None:
        self._nursery = nursery
        self._log = log
        self._channel: asyncssh.SSHServerChannel[bytes] | None = None
        self._room = trio.Event()
        self._room.set()

    @abstractmethod
    async def serve(self) -> None:
        """Serve the channel; it exits with 0 when this returns, unless it has exited."""

    @abstractmethod
    def ended(self) -> None:
        """The client sends no more; the channel may be gone as well. Called once or twice."""

    def connection_made(self, chan: asyncssh.SSHServerChannel[bytes]) -> None:
        self._channel = chan

    def session_started(self) -> None:
        self._nursery.start_soon(self._run)

    def eof_received(self) -> bool:
        self.ended()
        return True

    def pause_writing(self) -> None:
        self._room = trio.Event()

    def resume_writing(self) -> None:
        self._room.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self._channel = None
        self.ended()
        self._room.set()

    async def say(self, data: bytes) -> None:
        """Send as soon as the client has room; nothing when the channel is gone."""
        await self._room.wait()
        if self._channel is not None:
            self._channel.write(data)

    async def _run(self) -> None:
        try:
            await self.serve()
        except* Exception as group:  # noqa: BLE001 - the supervisor of one channel
            self._log.crash(self.crashed, group)
            if self._channel is not None:
                self._channel.abort()
        else:
            if self._channel is not None:
                self._channel.exit(0)
