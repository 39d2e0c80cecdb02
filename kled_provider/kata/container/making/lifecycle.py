"""Makes, stops and removes a container: its snapshot, its record, its task and its files.

Whatever fails or is cancelled on the way to a running container takes all of it away again. What a
killed provider leaves stands under a known id, and the next create begins by removing it.
"""

from __future__ import annotations

import signal
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import trio

from kled_provider.containerd.api import ContainerdApi
from kled_provider.containerd.caller import ContainerdError
from kled_provider.containerd.containers import ContainerRecord
from kled_provider.containerd.tasks import ContainerTask, TaskIo, TaskStatus
from kled_provider.containerd.types import AnyMessage, Mount
from kled_provider.grpc.status import GrpcStatus
from kled_provider.host import HostError
from kled_provider.kata.container.identity import RESTART_LABEL, WORKSPACE_LABEL

# Makes a snapshot a root of containerd's collection of garbage (its garbage-collection.md).
_ROOT_LABEL: Final = "containerd.io/gc.root"
_KILLED_S: Final = 15.0
# How long a runtime takes to say that a task of it has gone, after the task has ended.
_LOOK_AGAIN_S: Final = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerJob:
    """All that is needed to start a container: everything in it is decided."""

    id: str
    image: str
    rootfs: tuple[Mount, ...]  # the snapshot that was prepared for it
    runtime: str
    options: AnyMessage | None
    spec: Mapping[str, Any]
    labels: Mapping[str, str]
    io: TaskIo


class Lifecycle:
    """The containers of one containerd. All methods raise ContainerdError."""

    def __init__(self, api: ContainerdApi) -> None:
        self._api = api

    async def prepare(self, container: str, parent: str, workspace: str) -> tuple[Mount, ...]:
        """Make the container's own snapshot upon the image's, `parent`; gives how to mount it.

        Nothing else holds it until the container is there: the label keeps it from being collected.
        """
        labels = {WORKSPACE_LABEL: workspace, _ROOT_LABEL: "yes"}
        return await self._api.snapshots.prepare(container, parent, labels)

    async def start(self, job: ContainerJob) -> ContainerRecord:
        """Make the container of a prepared snapshot and let its process go."""
        record = ContainerRecord(
            id=job.id,
            image=job.image,
            runtime=job.runtime,
            options=job.options,
            spec=job.spec,
            snapshotter=self._api.snapshots.snapshotter,
            snapshot_key=job.id,
            # containerd's restart monitor would end a task that has not started yet.
            labels={n: t for n, t in job.labels.items() if n != RESTART_LABEL},
        )
        await self._api.containers.create(record)
        await self._api.tasks.create(job.id, job.rootfs, job.io)
        await self._api.tasks.start(job.id)
        if RESTART_LABEL in job.labels:
            await self._api.containers.set_labels(record, job.labels)
        return replace(record, labels=job.labels)

    async def remove(self, container: str, number: int, stop_s: float) -> int | None:
        """Stop a container and remove it; gives how its process ended. One gone is no error.

        It is asked to end by a signal and killed after `stop_s`.
        """
        record = await self._api.containers.find(container)
        if record is not None and record.labels.get(RESTART_LABEL) == "running":
            # Or containerd would start it again while it ends.
            await self._api.containers.set_labels(
                record, {**record.labels, RESTART_LABEL: "stopped"}
            )
        status = await self._end(container, number, stop_s)
        await self._api.containers.delete(container)
        await self._api.snapshots.remove(container)
        return status

    async def _end(self, container: str, number: int, stop_s: float) -> int | None:
        task = await self._api.tasks.find(container)
        if task is None:
            return None
        if task.status is not TaskStatus.STOPPED:
            if task.status is TaskStatus.RUNNING and stop_s > 0:
                await self._kill(container, number)
                with trio.move_on_after(stop_s):
                    await self._wait(container)
            await self._kill(container, signal.SIGKILL, is_for_all=True)
            with trio.move_on_after(_KILLED_S) as scope:
                await self._wait(container)
            if scope.cancelled_caught:
                raise HostError(
                    f"The container {container} does not end",
                    hint="Its runtime does not answer: look at containerd's log and at the shim.",
                )
        return await self._forget(container)

    async def _kill(self, container: str, number: int, *, is_for_all: bool = False) -> None:
        try:
            await self._api.tasks.kill(container, number, is_for_all=is_for_all)
        except ContainerdError as error:
            # The task has just ended.
            if error.status not in (GrpcStatus.FAILED_PRECONDITION, GrpcStatus.UNKNOWN):
                raise

    async def _wait(self, container: str) -> None:
        try:
            await self._api.tasks.wait(container)
        except ContainerdError as error:
            if not (error.is_missing or error.is_of_dead_shim):
                raise

    async def _forget(self, container: str) -> int | None:
        """Delete the task; the runtime may take a moment after its end."""
        with trio.move_on_after(_KILLED_S):
            while True:
                try:
                    return await self._api.tasks.delete(container)
                except ContainerdError as error:
                    is_early = error.status == GrpcStatus.FAILED_PRECONDITION
                    if not (is_early or error.is_of_dead_shim):
                        raise
                await trio.sleep(_LOOK_AGAIN_S)  # there is no event that says it may be deleted
        raise HostError(f"containerd does not forget the task of {container}")

    async def find(self, container: str) -> tuple[ContainerRecord, ContainerTask | None] | None:
        """Look a container up, and its task."""
        record = await self._api.containers.find(container)
        return None if record is None else (record, await self._api.tasks.find(container))
