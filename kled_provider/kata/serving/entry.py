"""What the coordinator calls: within this process where it is root's, else by the service.

KLED_KATA_SOCKET names the service's socket, also for a coordinator that is root.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import trio

from kled_provider.host import Host, HostError
from kled_provider.kata.output.reading import follow_container_output, read_container_output
from kled_provider.kata.serving.here import (
    clear_here,
    examine_here,
    serve_here,
    wait_agent_here,
)
from kled_provider.kata.serving.remote import (
    DEFAULT_SOCKET,
    clear_remote,
    examine_remote,
    follow_remote,
    output_remote,
    serve_remote,
    wait_agent_remote,
)


def service_socket() -> str | None:
    """Return the service's socket; None where this process needs none."""
    named = os.environ.get("KLED_KATA_SOCKET")
    return named or (None if os.geteuid() == 0 else DEFAULT_SOCKET)


async def serve_kata(
    listener: trio.SocketListener,
    host: Host,
    *,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve the provider to one run, as `serve_provider` does."""
    path = service_socket()
    if path is None:
        await serve_here(listener, host, task_status=task_status)
    else:
        await serve_remote(listener, host, path, task_status=task_status)


async def clear_kata(host: Host) -> None:
    """End what it made for the host's workspace. Raises HostError, OSError."""
    path, workspace = service_socket(), str((await host.workspace())["id"])
    if path is None:
        await clear_here(workspace)
    else:
        await clear_remote(workspace, path)


async def examine_kata() -> list[Mapping[str, str]]:
    """Say what this machine has for the provider, in lines. Raises HostError, OwnerFileError."""
    path = service_socket()
    return await examine_here() if path is None else await examine_remote(path)


async def follow_output(
    workspace_id: str, name: str, position: str, most_bytes: int
) -> tuple[bytes, str] | None:
    """Return what a container prints behind a position ("": the last of it), and the next one.

    Waits a while for that; None where there is none. Raises OSError.
    """
    path = service_socket()
    if path is None:
        return await follow_container_output(workspace_id, name, position, most_bytes)
    with _as_os_errors():
        return await follow_remote(workspace_id, name, position, most_bytes, path)


async def wait_agent_end(
    workspace_id: str, _process_directory: str, agent_id: str
) -> tuple[str, tuple[str, ...]]:
    """Return how an agent's container has ended, and what it printed last; waits for that."""
    path = service_socket()
    if path is None:
        return await wait_agent_here(workspace_id, agent_id)
    return await wait_agent_remote(workspace_id, agent_id, path)


async def container_output(workspace_id: str, name: str, most_bytes: int) -> bytes | None:
    """Return the last of what a container printed; None where there is none. Raises OSError."""
    path = service_socket()
    if path is None:
        return await read_container_output(workspace_id, name, most_bytes)
    with _as_os_errors():
        return await output_remote(workspace_id, name, most_bytes, path)


@contextmanager
def _as_os_errors() -> Iterator[None]:
    """What the service says of a log it could not read is what reading it raises here."""
    try:
        yield
    except HostError as error:
        raise OSError(errno.EIO, error.message) from error
