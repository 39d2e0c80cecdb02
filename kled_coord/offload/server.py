"""An offload process: `python -m kled_coord.offload.server [CERTIFICATE KEY] FD`.

It takes TLS or WebSocket framing off connections that it is handed, and gives the plain bytes to
whoever has the other end of a Unix socket pair: the coordinator for requests and control links, a
relay process for streams. It knows nothing else: no policy, no tokens, no store. A bare epoll loop,
as the relay process is one and for the same reasons (docs/adr/0012-offload-processes.md). When the
coordinator is gone the connections are served to their end.

Fair: in each round those that move little go first, then one bulk connection takes one step, so a
keystroke waits for one step at most.
"""

from __future__ import annotations

import errno
import os
import resource
import select
import signal
import socket
import sys
import time
from collections import deque
from pathlib import Path
from typing import Final

from kled_coord.offload import handover
from kled_coord.offload.certificates import Certificates
from kled_coord.offload.connection import Connection
from kled_coord.offload.handover import Kind, Renewed, Stop, Take
from kled_coord.offload.layer import Layer, LayerBrokenError
from kled_coord.offload.tls import TlsLayer

# A connection that moves more than this in a second is bulk. No terminal is read that fast.
_BULK_BYTES: Final = 1024 * 1024
_BULK_S: Final = 1.0
# A peer gets this long to take the last bytes when nobody is behind the connection any more.
LINGER_S: Final = 60.0
_GONE: Final = select.EPOLLHUP | select.EPOLLERR
# A connection and an end of a pair.
_ENDS: Final = 2
# In the place of a mask: not registered, because epoll reports a dead socket whatever the mask.
_PARKED: Final = -1


class Served:
    """One connection in the loop. Times are time.monotonic() seconds."""

    __slots__ = ("_bulk", "_moved", "_since", "connection", "gone", "lingering", "masks", "turn")

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.masks: dict[int, int] = {}
        # The descriptors that epoll has called dead.
        self.gone: set[int] = set()
        self.lingering = False
        # The last round in which it had a turn as bulk.
        self.turn = 0
        self._bulk = False
        self._moved = 0
        self._since = 0.0

    def is_bulk(self, now: float) -> bool:
        """Whether others go first."""
        moved = self.connection.moved - self._moved
        if now - self._since >= _BULK_S:
            self._bulk = moved > _BULK_BYTES
            self._moved, self._since = self.connection.moved, now
        return self._bulk or moved > _BULK_BYTES


class Server:
    """The loop. `control` is the socket to the coordinator."""

    def __init__(self, control: socket.socket, certificates: Certificates | None) -> None:
        self._control = control
        self._certificates = certificates
        self._epoll = select.epoll()
        self._epoll.register(control, select.EPOLLIN)
        self._by_descriptor: dict[int, Served] = {}
        self._lingering: deque[tuple[float, Served]] = deque()
        self._rounds = 0
        self._orphaned = False
        self._stopped = False

    def run(self) -> None:
        """Serve until told to stop, or until orphaned and out of connections."""
        while not self._stopped and not (self._orphaned and not self._by_descriptor):
            self._round(self._epoll.poll(self._timeout()))
            self._give_up()
        for served in set(self._by_descriptor.values()):
            self._end(served)

    def _timeout(self) -> float | None:
        if not self._lingering:
            return None
        return max(0.0, self._lingering[0][0] - time.monotonic())

    def _round(self, ready: list[tuple[int, int]]) -> None:
        now = time.monotonic()
        bulk: list[tuple[Served, int, int]] = []
        told = False
        for descriptor, events in ready:
            served = self._by_descriptor.get(descriptor)
            if served is None:
                # Or else it was closed in this round.
                told = told or descriptor == self._control.fileno()
            elif served.is_bulk(now) and len(ready) > 1:
                bulk.append((served, descriptor, events))
            else:
                self._step(served, descriptor, events)
        if bulk:
            self._step_bulk(bulk)
        if told:
            # Last: a new connection may get a descriptor that was closed in this round, and what
            # epoll said of the old one would be taken for the new one's.
            self._receive()

    def _step_bulk(self, ready: list[tuple[Served, int, int]]) -> None:
        """A step of the one that has waited longest; epoll reports the others again."""
        first = min((served for served, _, _ in ready), key=lambda served: served.turn)
        self._rounds += 1
        first.turn = self._rounds
        for served, descriptor, events in ready:
            if served is first and descriptor in self._by_descriptor:
                self._step(served, descriptor, events)

    def _step(self, served: Served, descriptor: int, events: int) -> None:
        if events & _GONE:
            served.gone.add(descriptor)
        try:
            served.connection.step(descriptor, events)
        except OSError:
            self._end(served)
        except LayerBrokenError:
            served.connection.break_off()
            self._end(served)
        else:
            self._settle(served)

    def _settle(self, served: Served) -> None:
        """After a step: over, or tell epoll what changed; in the steady state that is nothing."""
        connection = served.connection
        if connection.done:
            self._end(served)
            return
        for descriptor, mask in served.masks.items():
            wanted = connection.interest(descriptor)
            if not wanted and descriptor in served.gone:
                wanted = _PARKED
            if wanted == mask:
                continue
            served.masks[descriptor] = wanted
            if wanted == _PARKED:
                self._epoll.unregister(descriptor)
            elif mask == _PARKED:
                self._epoll.register(descriptor, wanted)
            else:
                self._epoll.modify(descriptor, wanted)
        if connection.lingering and not served.lingering:
            served.lingering = True
            self._lingering.append((time.monotonic() + LINGER_S, served))

    def _give_up(self) -> None:
        """End the connections whose peer takes nothing of what is left for it."""
        while self._lingering and self._lingering[0][0] <= time.monotonic():
            _, served = self._lingering.popleft()
            if served.masks:
                self._end(served)

    def _receive(self) -> None:
        try:
            data, descriptors, _, _ = socket.recv_fds(self._control, handover.PACKET_MAX, _ENDS)
        except (BlockingIOError, ConnectionResetError):
            return  # a reset is reported once, before what was sent ahead of it: Stop, or the end
        if not data:
            self._orphaned = True
            self._epoll.unregister(self._control)
            return
        packet = handover.decode(data)
        if isinstance(packet, Take):
            self._take(packet, descriptors)
        elif isinstance(packet, Stop):
            self._stopped = True

    def _take(self, take: Take, descriptors: list[int]) -> None:
        try:
            outer, inner = _sockets(descriptors)
        except OSError:
            return  # closed: whoever waits for it sees its end
        connection = Connection(outer, inner, self._layer(take.kind))
        served = Served(connection)
        for end in (outer, inner):
            served.masks[end.fileno()] = connection.interest(end.fileno())
            self._by_descriptor[end.fileno()] = served
            self._epoll.register(end, served.masks[end.fileno()])
        try:
            connection.begin(take.ahead)
        except (OSError, LayerBrokenError):
            connection.break_off()
            self._end(served)
        else:
            self._settle(served)

    def _layer(self, kind: Kind) -> Layer:
        if kind is Kind.TLS and self._certificates is not None:
            self._renew(self._certificates)
            return TlsLayer(self._certificates.context)
        # Most coordinators never see one: wsproto is loaded for the first.
        from kled_coord.offload.websocket import WebSocketLayer  # noqa: PLC0415

        return WebSocketLayer()

    def _renew(self, certificates: Certificates) -> None:
        try:
            if certificates.renew():
                self._tell(Renewed())
        except OSError as error:
            self._tell(Renewed(str(error) or type(error).__name__))

    def _tell(self, packet: Renewed) -> None:
        try:
            self._control.send(packet.encode())
        except OSError:
            return  # nobody is there, or has not listened for long: it is for the log only

    def _end(self, served: Served) -> None:
        for descriptor, mask in served.masks.items():
            if mask != _PARKED:
                self._epoll.unregister(descriptor)
            del self._by_descriptor[descriptor]
        served.masks.clear()
        served.connection.close()


def _sockets(descriptors: list[int]) -> tuple[socket.socket, socket.socket]:
    """The two sockets. Raises OSError, and they are closed then.

    Where this process may have no more descriptors, the kernel passes on only some of those sent
    (unix(7), MSG_CTRUNC). That must cost one connection, not all.
    """
    if len(descriptors) != _ENDS:
        for number in descriptors:
            os.close(number)
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
    outer, inner = (socket.socket(fileno=number) for number in descriptors)
    outer.setblocking(False)
    inner.setblocking(False)
    return outer, inner


def main() -> None:
    """Serve the control socket whose descriptor is the last argument."""
    # Ctrl-C and a service manager's SIGTERM are the coordinator's to answer, which says Stop.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    *files, number = sys.argv[1:]
    control = socket.socket(fileno=int(number))
    control.setblocking(False)
    os.set_inheritable(control.fileno(), False)
    certificates = Certificates(*map(Path, files)) if files else None
    Server(control, certificates).run()


if __name__ == "__main__":
    main()
