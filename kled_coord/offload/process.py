"""The coordinator's side of an offload process: sends connections, receives certificate events."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import structlog
import trio

from kled_coord.metrics import Metrics
from kled_coord.offload import handover
from kled_coord.offload.handover import LayerKind, Take
from kled_coord.sidecars.process import Sidecar, SidecarProgram

log = structlog.get_logger(__name__)


class OffloadProcess(Sidecar):
    """One offload process, started again when it dies; its connections are then broken.

    `name` is its label in the metrics, `files` the certificate chain and key where it is to serve
    TLS; `on_change` is told when it is there or gone, and when connections come and go.
    """

    def __init__(
        self,
        metrics: Metrics,
        files: tuple[Path, Path] | None,
        name: str,
        on_change: Callable[[], None],
    ) -> None:
        self._connections = metrics.offload_connections.labels(process=name)
        self._restarts = metrics.offload_restarts_total.labels(process=name)
        program = SidecarProgram(
            kind="offload",
            module="kled_coord.offload.server",
            arguments=[str(file) for file in files or ()],
            stop=handover.StopOffload().encode(),
            packet_max=handover.PACKET_MAX,
        )
        super().__init__(program, on_change)
        self._load = 0

    @property
    def load(self) -> int:
        """How many connections it has of ours."""
        return self._load

    @asynccontextmanager
    async def unwrapped(
        self, kind: LayerKind, outer: trio.SocketStream, ahead: bytes = b""
    ) -> AsyncIterator[trio.SocketStream]:
        """Unwrap `outer` of `kind`; give the plain end, to close or to pass on in the block.

        The process has a copy of `outer`: ours is the caller's to close. `ahead` is what was read
        of it already. Raises UnavailableError("offload_restarting").
        """
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        async with trio.SocketStream(trio.socket.from_stdlib_socket(ours)) as plain:
            with theirs:
                ends = [outer.socket.fileno(), theirs.fileno()]
                await self.send(Take(kind, ahead).encode(), ends)
            self._count(1)
            try:
                yield plain
            finally:
                self._count(-1)

    def _count(self, change: int) -> None:
        self._load += change
        self._connections.set(self._load)
        self.on_change()

    def heard(self, packet: bytes) -> None:
        """The certificate was read again, or could not be; or a connection has met a bug."""
        said = handover.decode(packet)
        if isinstance(said, handover.Crashed):
            log.error("connection_crashed", reason=said.reason)
        elif not isinstance(said, handover.Renewed):
            return
        elif said.problem:
            log.error("tls_files_unusable", reason=said.problem)
        else:
            log.info("tls_files_renewed")

    def lost(self) -> None:
        """Whoever has the other ends of its connections sees that."""

    def restarting(self) -> None:
        self._restarts.inc()
