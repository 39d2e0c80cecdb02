"""The processes of the data plane: offload processes and relay processes."""

from __future__ import annotations

import os
import platform
import select
from dataclasses import dataclass

import trio

from kled_coord.config import CoordinatorConfig
from kled_coord.metrics import Metrics
from kled_coord.offload.certificates import Certificates
from kled_coord.offload.pool import OffloadPool
from kled_coord.relay.splice.pool import RelayPool
from kled_wire.errors import ConfigError


def check_system() -> None:
    """Raises ConfigError("system_unsupported") where there is no splice(2) or epoll(7)."""
    if not (hasattr(os, "splice") and hasattr(select, "epoll")):
        raise ConfigError(
            "system_unsupported",
            f"the coordinator runs on Linux only, and this is {platform.system()}",
            hint="run it on a Linux machine or in a Linux VM; `kled` works here",
        )


@dataclass(frozen=True, slots=True)
class DataProcesses:
    """The relay and offload processes, which outlive a coordinator that stops or dies."""

    relay: RelayPool
    offload: OffloadPool

    def leave(self) -> None:
        """When `run` is cancelled, leave the processes with their streams."""
        self.relay.leave()
        self.offload.leave()

    def cut(self) -> None:
        """When `run` is cancelled, stop the processes and their streams after all."""
        self.relay.cut()
        self.offload.cut()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Keep them until cancelled. Raises OSError when the first ones cannot be started."""
        async with trio.open_nursery() as nursery:
            await nursery.start(self.relay.run)
            await nursery.start(self.offload.run)
            task_status.started()


def make_processes(
    config: CoordinatorConfig, metrics: Metrics, certificates: Certificates | None
) -> DataProcesses:
    """As many as are set, or one per core."""
    cores = len(os.sched_getaffinity(0))
    files = None if certificates is None else certificates.files
    return DataProcesses(
        RelayPool(config.relay_processes or cores, metrics),
        OffloadPool(config.offload_processes or cores, metrics, files),
    )
