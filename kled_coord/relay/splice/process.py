"""The coordinator's side of a relay process: sends sockets, receives how their streams ended."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import trio

from kled_coord.metrics import Metrics
from kled_coord.relay.splice import handover
from kled_coord.relay.splice.bandwidth import Share
from kled_coord.relay.splice.handover import EndReason
from kled_coord.relay.splice.traffic import Traffic
from kled_coord.sidecars.process import Sidecar, SidecarProgram
from kled_wire import limits
from kled_wire.errors import UnavailableError

_PROGRAM: Final = SidecarProgram(
    kind="relay",
    module="kled_coord.relay.splice.splicer",
    stop=handover.StopRelay().encode(),
    packet_max=handover.PACKET_MAX,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """A stream's limits: seconds without bytes, seconds in total (0: no limit), bandwidth."""

    idle_s: float = 0
    absolute_s: float = 0
    shares: tuple[Share, ...] = ()


@dataclass(slots=True, kw_only=True, eq=False)
class _Joined:
    traffic: Traffic
    shares: tuple[Share, ...]
    ended: trio.Event = field(default_factory=trio.Event)
    reason: EndReason = EndReason.BROKEN


class RelayProcess(Sidecar):
    """One relay process, started again when it dies; its streams are then broken.

    `name` is its label in the metrics; `on_change` is told when it is there or gone, and when
    streams come and go. It has `end_s` seconds to end a stream.
    """

    def __init__(
        self,
        metrics: Metrics,
        name: str,
        on_change: Callable[[], None],
        *,
        end_s: float = limits.CLEANUP_S,
    ) -> None:
        super().__init__(_PROGRAM, on_change)
        self._end_s = end_s
        self._streams = metrics.relay_streams.labels(process=name)
        self._restarts = metrics.relay_restarts_total.labels(process=name)
        self._numbers = itertools.count(1)
        self._joined: dict[int, _Joined] = {}

    @property
    def load(self) -> int:
        """How many streams it has."""
        return len(self._joined)

    def shares_any(self, shares: tuple[Share, ...]) -> bool:
        """Whether a stream here is limited together with one of these shares."""
        return any(share in joined.shares for joined in self._joined.values() for share in shares)

    async def join(
        self,
        client: trio.SocketStream,
        agent: trio.SocketStream,
        traffic: Traffic,
        terms: Terms,
    ) -> str:
        """Have the two sockets joined to their end, and close our copies of them.

        Returns why it ended, an `EndReason` in lower case. When cancelled, the stream is ended,
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
                ends = [client.socket.fileno(), agent.socket.fileno()]
                await self.send(opened.encode(), ends)
            except BaseException:
                joined.ended.set()  # it has never begun, cancelled or not: a packet is sent whole
                raise
            # The relay's copies are the live ones: ours would keep the connections open.
            await trio.aclose_forcefully(client)
            await trio.aclose_forcefully(agent)
            await joined.ended.wait()
        finally:
            if not joined.ended.is_set() and not self.leaving:
                with trio.move_on_after(self._end_s, shield=True):
                    await self._end(number, joined)
            del self._joined[number]
            self._count()
        return joined.reason.name.lower()

    async def _end(self, number: int, joined: _Joined) -> None:
        try:
            await self.send(handover.Close(number).encode())
        except UnavailableError:
            return  # the process is gone, and the stream with it
        await joined.ended.wait()

    def _count(self) -> None:
        self._streams.set(len(self._joined))
        self.on_change()

    def heard(self, packet: bytes) -> None:
        """Bytes have moved, or a stream has ended."""
        said = handover.decode(packet)
        if not isinstance(said, handover.Moved | handover.StreamDone):
            return
        joined = self._joined.get(said.id)
        if joined is None:
            return  # its task was cancelled in between
        if isinstance(said, handover.Moved):
            joined.traffic.count(to_agent=said.to_agent, to_client=said.to_client)
        else:
            joined.reason = said.reason
            joined.ended.set()

    def lost(self) -> None:
        for joined in self._joined.values():
            joined.ended.set()

    def restarting(self) -> None:
        self._restarts.inc()
