"""The offload processes, up to one per core, and the choice of one for a connection."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path

import structlog
import trio

from kled_coord.metrics import Metrics
from kled_coord.offload.handover import LayerKind
from kled_coord.offload.process import OffloadProcess
from kled_coord.offload.stream import OffloadedStream, plain_socket
from kled_coord.sidecars.pool import Pool
from kled_wire.errors import UnavailableError

log = structlog.get_logger(__name__)


class OffloadPool(Pool[OffloadProcess]):
    """Up to `most` offload processes; `files` are certificate chain and key, where there is TLS.

    Without TLS the first is started when a WebSocket comes, which most coordinators never see.
    """

    def __init__(self, most: int, metrics: Metrics, files: tuple[Path, Path] | None) -> None:
        super().__init__(
            most,
            partial(OffloadProcess, metrics, files),
            metrics.offload_processes.set,
            at_first_use=files is None,
        )

    @asynccontextmanager
    async def unwrapped(
        self, kind: LayerKind, connection: trio.abc.HalfCloseableStream, ahead: bytes = b""
    ) -> AsyncIterator[OffloadedStream]:
        """As `OffloadProcess.unwrapped` of the socket of `connection`, by whoever has least to do.

        Waits a little while there is none. Raises UnavailableError("offload_restarting").
        """
        outer = plain_socket(connection)
        async with AsyncExitStack() as stack:
            for process in await self.wait_running():
                try:
                    plain = await stack.enter_async_context(process.unwrapped(kind, outer, ahead))
                except UnavailableError:
                    log.debug("offload_gone")
                else:
                    yield OffloadedStream(plain, connection)
                    return
            raise UnavailableError(
                "offload_restarting",
                "the TLS process is restarting",
                hint="try again",
            )
