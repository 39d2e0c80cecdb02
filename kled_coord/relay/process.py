"""The coordinator's side of a relay process: start it, hand it sockets, hear how they ended."""

from __future__ import annotations

import itertools
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import structlog
import trio

from kled_coord.relay import handover
from kled_coord.relay.handover import Ended
from kled_coord.relay.traffic import Traffic
from kled_wire import limits
from kled_wire.errors import UnavailableError

# A stream waits this long for a relay process that is being started again.
_WAIT_S: Final = 5.0
# A relay process that dies at once, again and again, is not started faster than this.
_RESTART_S: Final = 1.0

log = structlog.get_logger(__name__)


@dataclass(slots=True, kw_only=True, eq=False)
class _Joined:
    traffic: Traffic
    ended: trio.Event = field(default_factory=trio.Event)
    reason: Ended = Ended.BROKEN


class RelayProcess:
    """One relay process, started again when it dies; its streams are then broken."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        self._joined: dict[int, _Joined] = {}
        self._control: trio.socket.SocketType | None = None
        self._sending = trio.Lock()
        self._leaving = False
        self._up = trio.Event()

    @property
    def running(self) -> bool:
        """Whether there is a process to hand sockets to."""
        return self._control is not None

    def leave(self) -> None:
        """When `run` is cancelled, leave the process with its streams instead of stopping it."""
        self._leaving = True

    def cut(self) -> None:
        """When `run` is cancelled, stop the process and its streams after all."""
        self._leaving = False

    async def join(
        self,
        client: trio.SocketStream,
        agent: trio.SocketStream,
        traffic: Traffic,
        *,
        idle_s: float,
        absolute_s: float,
    ) -> str:
        """Have the two sockets joined to their end, and close our copies of them.

        Returns why it ended, an `Ended` in lower case. When cancelled, the stream is ended,
        unless `leave` was called.
        """
        with trio.move_on_after(_WAIT_S):
            await self._up.wait()
        number, joined = next(self._numbers), _Joined(traffic=traffic)
        self._joined[number] = joined
        try:
            await self._send(
                handover.Open(number, idle_s, absolute_s),
                [client.socket.fileno(), agent.socket.fileno()],
            )
            # The relay's copies are the live ones: ours would keep the connections open.
            await trio.aclose_forcefully(client)
            await trio.aclose_forcefully(agent)
            await joined.ended.wait()
        finally:
            if not joined.ended.is_set() and not self._leaving:
                with trio.move_on_after(limits.CLEANUP_S, shield=True):
                    await self._end(number, joined)
            del self._joined[number]
        return joined.reason.name.lower()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Keep a relay process until cancelled; then it is told to stop and waited for, or left."""
        started: Callable[[], None] = task_status.started
        while True:
            process = await self._start()
            started()
            started = _nothing
            try:
                await self._listen()
            finally:
                if self._leaving:
                    self._hang_up()
                else:
                    with trio.move_on_after(limits.CLEANUP_S, shield=True):
                        await self._stop(process)
                    if process.returncode is None:
                        process.kill()
            log.error("relay_died", status=process.returncode, streams=len(self._joined))
            await trio.sleep(_RESTART_S)

    async def _start(self) -> trio.Process:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            process = await trio.lowlevel.open_process(
                [sys.executable, "-P", "-m", "kled_coord.relay.splicer", str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
        self._control = trio.socket.from_stdlib_socket(ours)
        self._up.set()
        return process

    async def _listen(self) -> None:
        """Take reports until the process is gone."""
        assert self._control is not None
        while data := await self._receive(self._control):
            packet = handover.decode(data)
            if isinstance(packet, handover.Moved | handover.Done):
                self._report(packet, self._joined.get(packet.id))
        # Streams that come now wait for the next process.
        self._hang_up()
        for joined in self._joined.values():
            joined.ended.set()

    @staticmethod
    def _report(packet: handover.Moved | handover.Done, joined: _Joined | None) -> None:
        if joined is None:
            return  # its task was cancelled in between
        if isinstance(packet, handover.Moved):
            joined.traffic.count(to_agent=packet.to_agent, to_client=packet.to_client)
        else:
            joined.reason = packet.reason
            joined.ended.set()

    @staticmethod
    async def _receive(control: trio.socket.SocketType) -> bytes:
        try:
            return await control.recv(handover.PACKET_MAX)
        except ConnectionError:
            return b""

    async def _end(self, number: int, joined: _Joined) -> None:
        try:
            await self._send(handover.Close(number))
        except UnavailableError:
            return  # the process is gone, and the stream with it
        await joined.ended.wait()

    async def _stop(self, process: trio.Process) -> None:
        try:
            await self._send(handover.Stop())
        except UnavailableError:
            log.debug("relay_gone_already")
        self._hang_up()
        await process.wait()

    def _hang_up(self) -> None:
        control, self._control = self._control, None
        self._up = trio.Event()
        if control is not None:
            control.close()

    async def _send(self, packet: handover.Packet, descriptors: list[int] | None = None) -> None:
        """Raises UnavailableError("relay_restarting")."""
        async with self._sending:
            if self._control is None:
                raise UnavailableError("relay_restarting", "the relay is restarting", hint="again")
            try:
                await _send_descriptors(self._control, packet.encode(), descriptors or [])
            except (OSError, trio.ClosedResourceError) as exc:
                raise UnavailableError(
                    "relay_restarting", "the relay is restarting", hint="try again"
                ) from exc


async def _send_descriptors(
    control: trio.socket.SocketType, data: bytes, descriptors: list[int]
) -> None:
    """SCM_RIGHTS, unix(7)."""
    rights = b"".join(number.to_bytes(4, sys.byteorder) for number in descriptors)
    ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)] if rights else []
    await control.sendmsg([data], ancillary)


def _nothing() -> None:
    """A second start has nobody to tell."""
