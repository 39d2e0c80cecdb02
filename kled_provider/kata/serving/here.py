"""The provider within this process, which has to be root's."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress

import trio

from kled_provider.containerd.caller import ContainerdError
from kled_provider.grpc.status import GrpcStatus
from kled_provider.host import Host, HostError
from kled_provider.kata.container.clearing import clear_workspace
from kled_provider.kata.container.ending import wait_agent_container
from kled_provider.kata.host.data import report_lines
from kled_provider.kata.host.examine import examine_machine
from kled_provider.kata.leftovers import collect_leftovers
from kled_provider.kata.machine import KataMachine
from kled_provider.kata.owner.file import OwnerFileError
from kled_provider.kata.provider import kata_provider
from kled_provider.plugin.serving import serve_provider


async def serve_here(
    listener: trio.SocketListener,
    host: Host,
    *,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve as `serve_provider` does, with connections to containerd of its own."""
    async with open_machine() as machine, trio.open_nursery() as nursery:
        nursery.start_soon(collect_leftovers, machine)
        await serve_provider(kata_provider(machine), listener, host, task_status=task_status)
        nursery.cancel_scope.cancel()


async def clear_here(workspace: str) -> None:
    """End the containers of a workspace. Raises HostError, OSError.

    A machine without an owner's file makes none, and one whose containerd is not there runs none.
    """
    async with open_machine() as machine:
        try:
            owner = machine.owner()
        except OwnerFileError as error:
            if error.code == "owner_file_missing":
                return
            raise
        try:
            await clear_workspace(await machine.containerd(), owner, workspace)
        except ContainerdError as error:
            if error.status != GrpcStatus.UNAVAILABLE:
                raise


async def wait_agent_here(workspace: str, agent_id: str) -> tuple[str, tuple[str, ...]]:
    """Return how an agent's container has ended, and what it printed last.

    Waits until it is cancelled where there is none, or this machine cannot tell.
    """
    async with open_machine() as machine:
        with suppress(HostError, OwnerFileError):
            api, owner = await machine.containerd(), machine.owner()
            return await wait_agent_container(api, owner, workspace, agent_id)
    return await trio.sleep_forever()


async def examine_here() -> list[Mapping[str, str]]:
    """Say what this machine has for the provider, in lines. Raises OwnerFileError."""
    async with open_machine() as machine:
        return report_lines(*await examine_machine(machine))


@asynccontextmanager
async def open_machine() -> AsyncIterator[KataMachine]:
    """Give the machine, whose connections last as long as the context."""
    machine = KataMachine()
    raised: BaseException | None = None
    async with trio.open_nursery() as nursery:
        await nursery.start(machine.serve)
        try:
            yield machine
        except Exception as error:  # noqa: BLE001 - raised below, and not as a group
            raised = error
        nursery.cancel_scope.cancel()
    if raised is not None:
        raise raised
