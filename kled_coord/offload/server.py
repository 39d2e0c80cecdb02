"""An offload process: `python -m kled_coord.offload.server [CERTIFICATE KEY] FD`.

It terminates the TLS or WebSocket framing of connections that it is handed; the plain bytes go to
whoever has the other end of a Unix socket pair: the coordinator for requests and control links, a
relay process for streams. It knows nothing else: no policy, no tokens, no store
(docs/adr/0012-offload-processes.md).
"""

from __future__ import annotations

import socket
import sys
import time
import traceback
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Final

from kled_coord.offload import handover
from kled_coord.offload.certificates import Certificates
from kled_coord.offload.connection import OffloadedConnection
from kled_coord.offload.handover import Crashed, LayerKind, Renewed, StopOffload, Take
from kled_coord.offload.layer import Layer, LayerBrokenError
from kled_coord.offload.tls import TlsLayer
from kled_coord.sidecars.loop import BULK_BYTES, Loop, Task, open_control, take_sockets

_BULK_S: Final = 1.0
# A peer gets this long to take the last bytes when nobody is behind the connection any more.
LINGER_S: Final = 60.0


class Served(Task):
    """One connection in the loop. Times are time.monotonic() seconds."""

    __slots__ = ("_bulk", "_moved", "_since", "connection", "lingering")

    def __init__(self, connection: OffloadedConnection) -> None:
        super().__init__()
        self.connection = connection
        self.lingering = False
        self._bulk = False
        self._moved = 0
        self._since = 0.0

    def is_bulk(self, now: float) -> bool:
        """Whether others go first."""
        moved = self.connection.moved - self._moved
        if now - self._since >= _BULK_S:
            self._bulk = moved > BULK_BYTES
            self._moved, self._since = self.connection.moved, now
        return self._bulk or moved > BULK_BYTES


class OffloadServer(Loop[Served]):
    """The loop."""

    def __init__(
        self,
        control: socket.socket,
        certificates: Certificates | None,
        *,
        linger_s: float = LINGER_S,
    ) -> None:
        super().__init__(control, handover.PACKET_MAX)
        self._linger_s = linger_s
        self._certificates = certificates
        self._lingering: deque[tuple[float, Served]] = deque()

    def run(self) -> None:
        """Serve until told to stop, or until orphaned and out of connections."""
        while not self.over:
            self.serve_ready(self.epoll.poll(self._timeout()), time.monotonic())
        for served in set(self.by_descriptor.values()):
            self._end(served)

    def _timeout(self) -> float | None:
        if not self._lingering:
            return None
        return max(0.0, self._lingering[0][0] - time.monotonic())

    def step(self, task: Served, descriptor: int, events: int) -> None:
        if self._lives(task, lambda: task.connection.step(descriptor, events)):
            self._settle(task)

    def _lives(self, served: Served, work: Callable[[], None]) -> bool:
        """Do `work` for a connection; whether that has not ended it."""
        try:
            work()
        except OSError:
            self._end(served)
        except LayerBrokenError:
            served.connection.break_off()
            self._end(served)
        except Exception as error:  # noqa: BLE001 - the supervisor of connections
            # Whatever a stranger has found, the others go on.
            self._end(served)
            self._tell(Crashed("".join(traceback.format_exception_only(error)).strip()))
        else:
            return True
        return False

    def _settle(self, served: Served) -> None:
        """After a step: over, or tell epoll what changed; in the steady state that is nothing."""
        connection = served.connection
        if connection.done:
            self._end(served)
            return
        for descriptor in served.masks:
            wanted = connection.interest(descriptor)
            self.watch(served, descriptor, wanted, park=not wanted and descriptor in served.gone)
        if connection.lingering and not served.lingering:
            served.lingering = True
            self._lingering.append((time.monotonic() + self._linger_s, served))

    def between(self, now: float) -> None:
        """End the connections whose peer takes nothing of what is left for it."""
        while self._lingering and self._lingering[0][0] <= now:
            _, served = self._lingering.popleft()
            if served.masks:
                self._end(served)

    def heard(self, packet: bytes, descriptors: list[int]) -> None:
        said = handover.decode(packet)
        if isinstance(said, Take):
            self._take(said, descriptors)
        elif isinstance(said, StopOffload):
            self.stopped = True

    def _take(self, take: Take, descriptors: list[int]) -> None:
        try:
            outer, inner = take_sockets(descriptors)
        except OSError:
            return  # closed: whoever waits for it sees its end
        connection = OffloadedConnection(outer, inner, self._layer(take.kind))
        served = Served(connection)
        for number in (outer.fileno(), inner.fileno()):
            self.add(served, number, connection.interest(number))
        if self._lives(served, lambda: connection.begin(take.ahead)):
            self._settle(served)

    def _layer(self, kind: LayerKind) -> Layer:
        if kind is LayerKind.TLS:
            assert self._certificates is not None, "the coordinator has none and asks for TLS"
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

    def _tell(self, packet: Renewed | Crashed) -> None:
        try:
            self.control.send(packet.encode())
        except OSError:
            return  # nobody is there, or has not listened for long: it is for the log only

    def _end(self, served: Served) -> None:
        self.remove(served)
        served.connection.close()


def main() -> None:
    """Serve the control socket whose descriptor is the last argument."""
    *files, number = sys.argv[1:]
    control = open_control(number)
    certificates = Certificates(*map(Path, files)) if files else None
    OffloadServer(control, certificates).run()


if __name__ == "__main__":
    main()
