"""Serves a provider to the Terraform processes of one run, over a Unix socket.

Plaintext gRPC: the socket lies in a private directory, and `TF_REATTACH_PROVIDERS` uses no TLS.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, NoReturn

import trio

from kled_provider.coder.provider import coder_provider
from kled_provider.grpc.server import serve_grpc
from kled_provider.host import Host
from kled_provider.kata.host.data import report_lines
from kled_provider.kata.host.examine import examine_machine
from kled_provider.kata.leftovers import collect_leftovers
from kled_provider.kata.machine import KataMachine
from kled_provider.kata.output.reading import read_container_output
from kled_provider.kata.owner.file import DEFAULT_PATH, OwnerFile
from kled_provider.kata.owner.loading import load_owner_file
from kled_provider.kata.provider import kata_provider
from kled_provider.kled.ending import wait_agent_end
from kled_provider.kled.process import end_all
from kled_provider.kled.provider import kled_provider
from kled_provider.plugin.resource import Provider
from kled_provider.plugin.service import PluginService


async def serve_provider(
    provider: Provider,
    listener: trio.SocketListener,
    host: Host,
    *,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve connections until the listener is closed, then until the last of them ends.

    A connection that breaks lets its running operations finish (grpc.GRACE_AFTER_EOF_S). Cancel
    to stop at once: what an operation has begun is adopted by the next create.
    """
    async with trio.open_nursery() as connections:
        task_status.started()
        while True:
            try:
                stream = await listener.accept()
            except trio.ClosedResourceError:
                return
            connections.start_soon(_serve_connection, stream, provider, host)


async def _serve_connection(stream: trio.SocketStream, provider: Provider, host: Host) -> None:
    # Terraform sends Shutdown only to providers it has started itself, which this one is not.
    await serve_grpc(stream, PluginService(provider, host, on_shutdown=lambda: None).handle)


@dataclass(frozen=True, slots=True, kw_only=True)
class EntryPoint:
    """What the entry point group `kled.terraform_providers` holds."""

    name: str
    addresses: tuple[str, ...]
    serve: Callable[..., Awaitable[Any]]
    clear: Callable[..., Awaitable[Any]]
    wait_agent_end: Callable[..., Awaitable[Any]]
    examine: Callable[[], Awaitable[Any]]
    container_output: Callable[..., Awaitable[Any]]


async def _no_container(_workspace_id: str, _name: str, _most_bytes: int) -> None:
    """It makes none."""


async def _nothing_to_examine() -> list[Any]:
    """It asks nothing of this machine."""
    return []


KLED = EntryPoint(
    name="kled",
    addresses=("registry.terraform.io/kled/kled", "registry.opentofu.org/kled/kled"),
    serve=partial(serve_provider, kled_provider()),
    clear=end_all,
    wait_agent_end=wait_agent_end,
    examine=_nothing_to_examine,
    container_output=_no_container,
)


async def _nothing_to_clear(_host: Host) -> None:
    """It makes nothing on this machine."""


async def _no_process_here(*_agent: str) -> NoReturn:
    """Its agents run in no process of this machine that it knows of: wait for ever."""
    await trio.sleep_forever()


CODER = EntryPoint(
    name="coder",
    addresses=("registry.terraform.io/coder/coder", "registry.opentofu.org/coder/coder"),
    serve=partial(serve_provider, coder_provider()),
    clear=_nothing_to_clear,
    wait_agent_end=_no_process_here,
    examine=_nothing_to_examine,
    container_output=_no_container,
)


def _load_owner_file() -> OwnerFile:
    return load_owner_file(os.environ.get("KLED_KATA_FILE", DEFAULT_PATH))


async def serve_kata(
    listener: trio.SocketListener,
    host: Host,
    *,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve the `kata` provider as `serve_provider` does, with connections of its own."""
    machine = KataMachine(_load_owner_file)
    async with trio.open_nursery() as nursery:
        await nursery.start(machine.serve)
        nursery.start_soon(collect_leftovers, machine)
        await serve_provider(kata_provider(machine), listener, host, task_status=task_status)
        nursery.cancel_scope.cancel()


async def examine_kata() -> list[Mapping[str, str]]:
    """Say what this machine has for the provider `kata`, in lines. Raises OwnerFileError."""
    machine = KataMachine(_load_owner_file)
    machine.owner()  # what is wrong with the file is told as itself, not as a group
    async with trio.open_nursery() as nursery:
        await nursery.start(machine.serve)
        lines = report_lines(*await examine_machine(machine))
        nursery.cancel_scope.cancel()
    return lines


KATA = EntryPoint(
    name="kata",
    addresses=("registry.terraform.io/kled/kata", "registry.opentofu.org/kled/kata"),
    serve=serve_kata,
    clear=_nothing_to_clear,
    wait_agent_end=_no_process_here,
    container_output=partial(read_container_output, load=_load_owner_file),
    examine=examine_kata,
)
