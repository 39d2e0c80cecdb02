"""One container with all that was made for it, taken away together."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Final

import trio

from kled_provider.containerd.api import ContainerdApi
from kled_provider.containerd.containers import ContainerRecord
from kled_provider.containerd.tasks import ContainerTask, TaskStatus
from kled_provider.host import HostError
from kled_provider.kata.container.cgroups import counts_oom, end_cgroups
from kled_provider.kata.container.identity import ADDRESSES_LABEL
from kled_provider.kata.container.making.checking import Runtime
from kled_provider.kata.container.making.directory import container_directory
from kled_provider.kata.container.making.hostfiles import unpin_mounts
from kled_provider.kata.container.making.joining import Joins
from kled_provider.kata.container.making.lifecycle import Lifecycle
from kled_provider.kata.container.orphan_shims import end_orphan_shims
from kled_provider.kata.network.results import NetworkError
from kled_provider.kata.oom import OOM_LABEL
from kled_provider.kata.owner.file import OwnerFile
from kled_provider.plugin.values import Values, settled

# How long cleaning up may take, whatever the operation's own limit.
CLEAN_UP_S: Final = 60.0
_ALIVE: Final = (TaskStatus.RUNNING, TaskStatus.PAUSED, TaskStatus.PAUSING)


class ContainerPlace:
    """Where a container is, or will be: its record and task, its joins, its files."""

    def __init__(self, api: ContainerdApi, owner: OwnerFile, container: str) -> None:
        self.api = api
        self.owner = owner
        self.id = container
        self.lifecycle = Lifecycle(api)
        self.joins = Joins(owner)
        self.directory = container_directory(owner.runtime_directory, container)

    @asynccontextmanager
    async def made(self) -> AsyncIterator[None]:
        """Make the container within; where that fails, or is cancelled, all of it goes."""
        try:
            yield
        except BaseException:
            with trio.move_on_after(CLEAN_UP_S, shield=True):
                # The first error is the one to report; what cannot be removed now is removed by the
                # next create.
                with suppress(HostError, OSError):
                    await self.clear(signal.SIGKILL, 0)
            raise

    async def clear(self, number: int, stop_s: float) -> NetworkError | None:
        """Stop the container and take all of it away. Raises HostError, OSError.

        Returns what hinders it to leave a network: of that traces are left, which the next run
        takes away, and all else is gone.
        """
        containerd = self.owner.containerd
        had_task = await self.lifecycle.remove(self.id, number, stop_s) is not None
        await end_cgroups(containerd.namespace, self.id)
        if not had_task:
            await end_orphan_shims(containerd.address, containerd.namespace, self.id)
        await trio.to_thread.run_sync(unpin_mounts, self.directory.path)
        await trio.to_thread.run_sync(self.directory.remove)
        # Last: by this what is left of a killed run's container is found.
        try:
            await self.joins.leave(self.id)
        except NetworkError as error:
            return error
        return None

    def can_start(self, record: ContainerRecord) -> bool:
        """Whether what containerd needs to start it again is there: files, namespace, FIFO."""
        mounts, linux = record.spec.get("mounts") or [], record.spec.get("linux") or {}
        needed = [m["source"] for m in mounts if "rbind" in (m.get("options") or ())]
        needed += [n["path"] for n in linux.get("namespaces") or [] if n.get("path")]
        return all(Path(path).exists() for path in (*needed, self.joins.outputs.fifo(self.id)))

    async def state(self, values: Values, runtime: Runtime | None = None) -> Values:
        """Return the whole state of the container as it is now.

        Without `runtime` sizes stay as `values` have them.
        """
        return self.state_of(await self.lifecycle.find(self.id), values, runtime)

    def state_of(
        self,
        found: tuple[ContainerRecord, ContainerTask | None] | None,
        values: Values,
        runtime: Runtime | None = None,
    ) -> Values:
        """As `state`, of what was found."""
        labels = found[0].labels if found else {}
        addresses = labels.get(ADDRESSES_LABEL, "")
        return settled(
            {
                **values,
                **(_of_runtime(values, runtime, self.id) if runtime else {}),
                "id": self.id,
                "ip_addresses": addresses.split(",") if addresses else [],
                "log_path": str(self.joins.outputs.log(self.id)),
                **_of_task(found[1] if found else None),
                "oom_killed": is_oom_killed(labels, self.owner.containerd.namespace, self.id),
            }
        )


def _of_runtime(values: Values, runtime: Runtime, container: str) -> Values:
    size = runtime.size
    return {
        "sandbox_id": container if runtime.handler.is_kata else "",
        "guest_memory": values["memory"] if size is None else size.memory_mib,
        "guest_vcpus": values["vcpus"] if size is None else size.vcpus,
    }


def _of_task(task: ContainerTask | None) -> Values:
    if task is None:
        return {"pid": None, "status": "stopped", "exit_code": None}
    is_stopped = task.status is TaskStatus.STOPPED
    return {
        "pid": None if is_stopped else task.pid,
        "status": task.status.name.lower(),
        "exit_code": task.exit_status if is_stopped else None,
    }


def is_running(found: tuple[ContainerRecord, ContainerTask | None]) -> bool:
    """Whether the container's process is there."""
    return found[1] is not None and found[1].status in _ALIVE


def is_oom_killed(labels: Mapping[str, str], namespace: str, container: str) -> bool:
    """Whether the kernel has killed a process of the container for memory.

    As containerd told it, or as its cgroup counts: that of a VM is not this kernel's.
    """
    return OOM_LABEL in labels or counts_oom(namespace, container)
