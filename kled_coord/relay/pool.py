"""Relay processes, up to one per core: which of them gets a stream, and when there is another.

The first is started with the coordinator, each further one as soon as all have streams. So one
always stands by: no stream waits for a start, and a coordinator that relays nothing keeps one.
"""

from __future__ import annotations

from typing import Final

import structlog
import trio

from kled_coord.metrics import Metrics
from kled_coord.relay.bandwidth import Share
from kled_coord.relay.process import RelayProcess, Terms
from kled_coord.relay.traffic import Traffic
from kled_wire.errors import UnavailableError

# A stream waits this long for a relay process while there is none.
_WAIT_S: Final = 5.0

log = structlog.get_logger(__name__)


class RelayPool:
    """Up to `most` relay processes. When one dies its streams are broken, no others."""

    def __init__(self, most: int, metrics: Metrics) -> None:
        self._most = most
        self._metrics = metrics
        self._processes: list[RelayProcess] = []
        self._leaving = False
        self._changed = trio.Event()

    @property
    def streams(self) -> list[int]:
        """How many streams each process has, in the order in which they were started."""
        return [process.streams for process in self._processes]

    def leave(self) -> None:
        """When `run` is cancelled, leave the processes with their streams instead of stopping."""
        self._leaving = True
        for process in self._processes:
            process.leave()

    def cut(self) -> None:
        """When `run` is cancelled, stop the processes and their streams after all."""
        self._leaving = False
        for process in self._processes:
            process.cut()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Keep the processes until cancelled. Raises OSError when the first cannot be started."""
        async with trio.open_nursery() as nursery:
            await self._add(nursery)
            task_status.started()
            while len(self._processes) < self._most:
                changed = self._changed
                if all(self.streams):
                    try:
                        await self._add(nursery)
                        continue
                    except OSError as exc:
                        # The next stream tries again; until then the others do.
                        log.error("relay_not_started", reason=exc.strerror)
                await changed.wait()

    async def join(
        self,
        client: trio.SocketStream,
        agent: trio.SocketStream,
        traffic: Traffic,
        terms: Terms,
    ) -> str:
        """As `RelayProcess.join`, in the process that suits; waits a little while there is none.

        Raises UnavailableError("relay_restarting").
        """
        with trio.move_on_after(_WAIT_S):
            while not any(process.running for process in self._processes):
                await self._changed.wait()
        for process in self._by_preference(terms.shares):
            try:
                return await process.join(client, agent, traffic, terms)
            except UnavailableError:
                log.debug("relay_gone")
        raise UnavailableError("relay_restarting", "the relay is restarting", hint="try again")

    def _by_preference(self, shares: tuple[Share, ...]) -> list[RelayProcess]:
        """Whoever limits the same user or workspace already; else the one with fewest streams."""
        return sorted(
            (process for process in self._processes if process.running),
            key=lambda process: (not process.shares_any(shares), process.streams),
        )

    async def _add(self, nursery: trio.Nursery) -> None:
        process = RelayProcess(str(len(self._processes)), self._metrics, self._on_change)
        if self._leaving:
            process.leave()
        await nursery.start(process.run)
        self._processes.append(process)
        self._on_change()

    def _on_change(self) -> None:
        self._metrics.relay_processes.set(sum(process.running for process in self._processes))
        changed, self._changed = self._changed, trio.Event()
        changed.set()
