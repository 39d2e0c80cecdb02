"""Stops the coordinator: the first SIGTERM drains, a second one stops at once."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from dataclasses import dataclass

import structlog
import trio

from kled_coord.builds.running.worker import Worker
from kled_coord.changes import QUEUE
from kled_coord.front.asgi import AsgiServer
from kled_coord.planes import Planes
from kled_coord.services import Services

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class StopOrder:
    """What a stop has to end; `scope` is around everything that serves."""

    services: Services
    asgi: AsgiServer
    planes: Planes
    workers: Sequence[Worker]
    scope: trio.CancelScope

    async def watch_signals(self, *, task_status: trio.TaskStatus[None]) -> None:
        """At the first SIGTERM or SIGINT drain for at most `drain_s`, at the second stop now."""
        with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
            task_status.started()
            async with trio.open_nursery() as nursery:
                async for _ in signals:
                    if self.services.readiness.draining.is_set():
                        log.warning("coordinator_stopping_now")
                        for worker in self.workers:
                            worker.force()
                        self.planes.cut()
                        self.scope.cancel()
                    else:
                        self.services.readiness.draining.set()
                        nursery.start_soon(self._drain)

    async def _drain(self) -> None:
        """Let API requests finish; agents dial again, streams go on in the relay processes."""
        drain_s = self.services.config.drain_s
        log.info("coordinator_draining", seconds=drain_s)
        self.services.changes.notify(QUEUE)
        with trio.move_on_after(drain_s):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self.asgi.drain)
                nursery.start_soon(self.planes.drain)
        self.scope.cancel()
