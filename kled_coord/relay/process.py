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

from kled_coord.metrics import Metrics
from kled_coord.relay import handover
from kled_coord.relay.bandwidth import Share
from kled_coord.relay.handover import Ended
from kled_coord.relay.traffic import Traffic
from kled_wire import limits
from kled_wire.backoff import Backoff
from kled_wire.errors import UnavailableError

# A relay process that dies at once, again and again, is started ever more slowly; one that has
# lived longer than the last of these waits begins anew.
_RESTART: Final = Backoff(first_s=0.25, cap_s=15.0)

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What a stream may: seconds without bytes, seconds in all, 0 for no limit; its bandwidth."""

    idle_s: float = 0
    absolute_s: float = 0
    shares: tuple[Share, ...] = ()


@dataclass(slots=True, kw_only=True, eq=False)
class _Joined:
    traffic: Traffic
    shares: tuple[Share, ...]
    ended: trio.Event = field(default_factory=trio.Event)
    reason: Ended = Ended.BROKEN


class RelayProcess:
    """One relay process, started again when it dies; its streams are then broken.

    `name` is its label in the metrics; `on_change` is told when it is there or gone, and when
    streams come and go.
    """

    def __init__(
        self, name: str, metrics: Metrics, on_change: Callable[[], None] | None = None
    ) -> None:
        self._on_change = on_change or _nothing
        self._streams = metrics.relay_streams.labels(process=name)
        self._restarts = metrics.relay_restarts_total.labels(process=name)
        self._numbers = itertools.count(1)
        self._joined: dict[int, _Joined] = {}
        self._control: trio.socket.SocketType | None = None
        self._sending = trio.Lock()
        self._leaving = False

    @property
    def running(self) -> bool:
        """Whether there is a process to hand sockets to."""
        return self._control is not None

    @property
    def streams(self) -> int:
        """How many it has."""
        return len(self._joined)

    def shares_any(self, shares: tuple[Share, ...]) -> bool:
        """Whether a stream here is limited together with one of these shares."""
        return any(share in joined.shares for joined in self._joined.values() for share in shares)

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
        terms: Terms,
    ) -> str:
        """Have the two sockets joined to their end, and close our copies of them.

        Returns why it ended, an `Ended` in lower case. When cancelled, the stream is ended,
        unless `leave` was called. Raises UnavailableError("relay_restarting"), and the sockets
        are still ours then.
        """
        number = next(self._numbers)
        joined = _Joined(traffic=traffic, shares=terms.shares)
        self._joined[number] = joined
        self._count()
        opened = handover.Open(number, terms.idle_s, terms.absolute_s, terms.shares)
        try:
            try:
                await self._send(opened, [client.socket.fileno(), agent.socket.fileno()])
            except BaseException:
                joined.ended.set()  # it has never begun, cancelled or not: a packet is sent whole
                raise
            # The relay's copies are the live ones: ours would keep the connections open.
            await trio.aclose_forcefully(client)
            await trio.aclose_forcefully(agent)
            await joined.ended.wait()
        finally:
            if not joined.ended.is_set() and not self._leaving:
                with trio.move_on_after(limits.CLEANUP_S, shield=True):
                    await self._end(number, joined)
            del self._joined[number]
            self._count()
        return joined.reason.name.lower()

    def _count(self) -> None:
        self._streams.set(len(self._joined))
        self._on_change()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Keep a relay process until cancelled; then it is told to stop and waited for, or left.

        Raises OSError when the first one cannot be started.
        """
        process = await self._start()
        task_status.started()
        failures = 0
        while True:
            began = trio.current_time()
            try:
                await self._listen()
            finally:
                await self._finish(process)
            lived = trio.current_time() - began
            log.error(
                "relay_died", status=process.returncode, streams=len(self._joined), seconds=lived
            )
            failures = 1 if lived > _RESTART.cap_s else failures + 1
            process = await self._start_again(failures)

    async def _start_again(self, failures: int) -> trio.Process:
        while True:
            await trio.sleep(_RESTART.ceiling(failures))
            self._restarts.inc()
            try:
                return await self._start()
            except OSError as exc:
                log.error("relay_not_started", reason=exc.strerror)
                failures += 1

    async def _finish(self, process: trio.Process) -> None:
        """We are cancelled, or the process is gone: leave it, or see it ended."""
        if self._leaving:
            self._hang_up()
            return
        with trio.move_on_after(limits.CLEANUP_S, shield=True):
            await self._stop(process)
        self._end_all()
        if process.returncode is None:
            process.kill()

    async def _start(self) -> trio.Process:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            with theirs:
                process = await trio.lowlevel.open_process(
                    [sys.executable, "-P", "-m", "kled_coord.relay.splicer", str(theirs.fileno())],
                    stdin=subprocess.DEVNULL,
                    pass_fds=[theirs.fileno()],
                    start_new_session=True,
                )
        except BaseException:
            ours.close()
            raise
        self._control = trio.socket.from_stdlib_socket(ours)
        self._on_change()
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
        self._end_all()

    def _end_all(self) -> None:
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
        if control is not None:
            control.close()
            self._on_change()

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
    """Nobody wants to be told."""
