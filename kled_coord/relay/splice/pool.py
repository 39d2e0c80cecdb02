"""The relay processes, up to one per core, and the choice of one for a stream."""

from __future__ import annotations

from functools import partial

import structlog
import trio

from kled_coord.metrics import Metrics
from kled_coord.relay.splice.process import RelayProcess, Terms
from kled_coord.relay.splice.traffic import Traffic
from kled_coord.sidecars.pool import Pool
from kled_wire.errors import UnavailableError

log = structlog.get_logger(__name__)


class RelayPool(Pool[RelayProcess]):
    """Up to `most` relay processes. When one dies its streams are broken, no others."""

    def __init__(self, most: int, metrics: Metrics) -> None:
        super().__init__(most, partial(RelayProcess, metrics), metrics.relay_processes.set)

    async def join(
        self,
        client: trio.SocketStream,
        agent: trio.SocketStream,
        traffic: Traffic,
        terms: Terms,
    ) -> str:
        """As `RelayProcess.join`, in the process that suits; waits a little while there is none.

        That is whoever limits the same user or workspace already, else the one with fewest streams.
        Raises UnavailableError("relay_restarting").
        """
        running = await self.wait_running()
        # The sort keeps the order of those that are alike.
        for process in sorted(running, key=lambda p: not p.shares_any(terms.shares)):
            try:
                return await process.join(client, agent, traffic, terms)
            except UnavailableError:
                log.debug("relay_gone")
        raise UnavailableError("relay_restarting", "the relay is restarting", hint="try again")
