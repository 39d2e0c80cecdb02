"""containerd's service Tasks: the processes of containers."""

from __future__ import annotations

import enum
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from kled_provider.containerd.caller import ContainerdCaller
from kled_provider.containerd.types import AnyMessage, Mount, encode_any, encode_mounts
from kled_provider.grpc import protobuf

_SERVICE = "/containerd.services.tasks.v1.Tasks/"
_RESOURCES = "types.containerd.io/opencontainers/runtime-spec/1/LinuxResources"
_PROCESS = "types.containerd.io/opencontainers/runtime-spec/1/Process"


class TaskStatus(enum.Enum):
    """`containerd.v1.types.Status`."""

    UNKNOWN = 0
    CREATED = 1
    RUNNING = 2
    STOPPED = 3
    PAUSED = 4
    PAUSING = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerTask:
    """The first process of a container. `exit_status` counts where it is stopped."""

    container: str
    pid: int
    status: TaskStatus
    exit_status: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskIo:
    """Where the standard streams of a process lead: paths of FIFOs, or URIs; empty: nowhere."""

    stdin: str = ""
    stdout: str = ""
    stderr: str = ""


class Tasks:
    """All methods raise ContainerdError. Waits for a runtime are the caller's to bound."""

    def __init__(self, caller: ContainerdCaller) -> None:
        self._caller = caller

    async def create(
        self,
        container: str,
        rootfs: Iterable[Mount],
        io: TaskIo,
    ) -> int:
        """Make the process, which waits for `start`; gives its pid.

        The runtime gets the options of the container's record: those of a task are runc's alone
        since containerd 2 (plugins/services/tasks/local.go, getRestorePath).
        """
        request = (
            protobuf.text(1, container)
            + encode_mounts(3, rootfs)
            + protobuf.text(4, io.stdin)
            + protobuf.text(5, io.stdout)
            + protobuf.text(6, io.stderr)
        )
        return protobuf.decode(await self._caller.call(f"{_SERVICE}Create", request)).integer(2)

    async def start(self, container: str, exec_id: str = "") -> int:
        """Let a process go; gives its pid."""
        reply = await self._caller.call(f"{_SERVICE}Start", _process(container, exec_id))
        return protobuf.decode(reply).integer(1)

    async def find(self, container: str, exec_id: str = "") -> ContainerTask | None:
        """Look a process up; None where there is none."""
        reply = await self._caller.call_if_there(f"{_SERVICE}Get", _process(container, exec_id))
        return None if reply is None else _decode(protobuf.decode(reply).blob(1), container)

    async def list(self) -> tuple[ContainerTask, ...]:
        """List the tasks of the namespace."""
        reply = await self._caller.call(f"{_SERVICE}List", b"")
        return tuple(_decode(data) for data in protobuf.decode(reply).blobs(1))

    async def wait(self, container: str, exec_id: str = "") -> int:
        """Wait for a process to end; gives its exit status."""
        reply = await self._caller.call(f"{_SERVICE}Wait", _process(container, exec_id))
        return protobuf.decode(reply).integer(1)

    async def kill(
        self, container: str, signal: int, *, exec_id: str = "", is_for_all: bool = False
    ) -> None:
        """Send a signal, to all processes of the container where wanted; a dead one is no error."""
        request = (
            _process(container, exec_id)
            + protobuf.integer(3, signal)
            + protobuf.integer(4, is_for_all)
        )
        await self._caller.call_if_there(f"{_SERVICE}Kill", request)

    async def delete(self, container: str) -> int | None:
        """Forget a stopped task; gives its exit status, None where there was none."""
        reply = await self._caller.call_if_there(f"{_SERVICE}Delete", protobuf.text(1, container))
        return None if reply is None else protobuf.decode(reply).integer(3)

    async def delete_exec(self, container: str, exec_id: str) -> None:
        """Forget an ended process besides the first."""
        await self._caller.call(f"{_SERVICE}DeleteProcess", _process(container, exec_id))

    async def exec(
        self, container: str, exec_id: str, process: Mapping[str, Any], io: TaskIo
    ) -> None:
        """Make another process (an OCI `process`) in a container; `start` lets it go."""
        spec = AnyMessage(_PROCESS, json.dumps(process).encode())
        request = (
            protobuf.text(1, container)
            + protobuf.text(2, io.stdin)
            + protobuf.text(3, io.stdout)
            + protobuf.text(4, io.stderr)
            + protobuf.message(6, encode_any(spec))
            + protobuf.text(7, exec_id)
        )
        await self._caller.call(f"{_SERVICE}Exec", request)

    async def update(self, container: str, resources: Mapping[str, Any]) -> None:
        """Change the limits of a running task (OCI `linux.resources`)."""
        limits = AnyMessage(_RESOURCES, json.dumps(resources).encode())
        request = protobuf.text(1, container) + protobuf.message(2, encode_any(limits))
        await self._caller.call(f"{_SERVICE}Update", request)


def _process(container: str, exec_id: str) -> bytes:
    return protobuf.text(1, container) + protobuf.text(2, exec_id)


def _decode(data: bytes, container: str = "") -> ContainerTask:
    fields = protobuf.decode(data)
    try:
        status = TaskStatus(fields.integer(4))
    except ValueError:
        status = TaskStatus.UNKNOWN
    return ContainerTask(
        # `Get` says it in `id`, where a shim is of version 1.
        container=container or fields.text(1) or fields.text(2),
        pid=fields.integer(3),
        status=status,
        exit_status=fields.integer(9),
    )
