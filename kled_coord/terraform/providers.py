"""Serves providers to one run of Terraform by reattach, from inside this process.

Terraform connects to a Unix socket per provider instead of starting one: 60 ms for a plan, and
the provider knows by the socket which build it serves. Traps (docs/provider.md): Terraform kills
the pid it is told when it cannot connect, so that pid is a child of ours that does nothing.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Protocol

import trio

from kled_coord.terraform.process.nurseries import one_error
from kled_wire.errors import ConfigError

GROUP = "kled.terraform_providers"
PROTOCOL_VERSION = 6
# Shorter on macOS (104) than on Linux (108), the NUL included.
MAX_SOCKET_PATH_BYTES = 103
# Stands for a pid that is known inside a sandbox only (confined.py); JSON, so with its quotes.
PID_INSIDE = '"@pid@"'
# How long the operations of a Terraform that died may go on; more than a provider takes by itself.
FINISH_S = 40.0


class TerraformProvider(Protocol):
    """What an entry point of GROUP gives: a value of another room, known by its shape only."""

    @property
    def name(self) -> str:
        """A short name, for the socket."""
        ...

    @property
    def addresses(self) -> tuple[str, ...]:
        """The source addresses it answers to, one per registry."""
        ...

    @property
    def serve(self) -> Callable[..., Awaitable[Any]]:
        """`serve(listener, host, task_status=...)`: serves until the listener is closed."""
        ...

    @property
    def clear(self) -> Callable[..., Awaitable[Any]]:
        """`clear(host)`: ends what it made on this machine, whether a state knows it or not."""
        ...

    @property
    def wait_agent_end(self) -> Callable[..., Awaitable[tuple[str, tuple[str, ...]]]]:
        """`wait_agent_end(workspace_id, process_directory, agent_id)`: how the process or container
        here that an agent ran in has ended ("": it is not known), and its last lines; waits for
        ever where there is none.
        """
        ...

    @property
    def examine(self) -> Callable[[], Awaitable[list[Mapping[str, str]]]]:
        """`examine()`: what this machine has for it, in lines of `state` (ok, limit or problem),
        `what`, `text` and `hint`; none where it needs nothing. Raises as a Host does.
        """
        ...

    @property
    def container_output(self) -> Callable[..., Awaitable[bytes | None]]:
        """`container_output(workspace_id, name, most_bytes)`: what a container of this machine
        printed last; None where it has none of that name. Raises OSError.
        """
        ...

    @property
    def follow_output(self) -> Callable[..., Awaitable[tuple[bytes, str] | None]]:
        """`follow_output(workspace_id, name, position, most_bytes)`: what it prints behind a
        position ("": the last of it), nothing where nothing comes for a while, and the position
        behind that; None where there is no log of it, or no more. Raises OSError.
        """
        ...


def load_providers() -> tuple[TerraformProvider, ...]:
    """Load every installed provider. Raises ConfigError where one does not load or none is."""
    found = []
    for entry in sorted(entry_points(group=GROUP)):
        try:
            found.append(entry.load())
        except (ImportError, AttributeError) as error:
            raise ConfigError(
                "terraform_provider_broken",
                f"the Terraform provider {entry.name} ({entry.value}) does not load: {error}",
                hint="reinstall with `pip install 'kled[coord,provider]'`",
            ) from error
    if not found:
        raise ConfigError(
            "terraform_provider_missing",
            "no Terraform provider is installed",
            hint="install with `pip install 'kled[coord,provider]'`",
        )
    return tuple(found)


@asynccontextmanager
async def open_reattach(
    host: object,
    directory: Path,
    providers: Sequence[TerraformProvider] | None = None,
    *,
    is_confined: bool = False,
    finish_s: float = FINISH_S,
) -> AsyncIterator[str]:
    """Serve `providers` (by default all) for one run; gives the TF_REATTACH_PROVIDERS value.

    `host` is what the providers ask about the build. Sockets are made in the private `directory`,
    or where its path is too long for a socket, in a temporary one. For a confined Terraform the
    value holds PID_INSIDE instead of a pid. At the end, operations whose
    Terraform died get `finish_s` to finish, shielded even where the run was cancelled.
    """
    if providers is None:
        providers = load_providers()
    async with AsyncExitStack() as stack:
        sockets = stack.enter_context(_socket_directory(directory, providers))
        pid: int | str = json.loads(PID_INSIDE)
        if not is_confined:
            pid = await stack.enter_async_context(_open_victim())
        listeners = [await _listen(sockets / f"{p.name}.sock") for p in providers]
        # Shielded each, not the nursery: the caller's own body runs within that.
        scopes = [trio.CancelScope(shield=True) for _ in listeners]
        stack.enter_context(one_error())
        async with trio.open_nursery() as nursery:
            for provider, listener, scope in zip(providers, listeners, scopes, strict=True):
                # Not awaited: who connects early waits, and a cancel while one begins, which is
                # shielded, would never end.
                nursery.start_soon(_serve, provider, listener, host, scope)
            try:
                yield _reattach(providers, sockets, pid)
            finally:
                # Where the run was cancelled, the first close would be the last.
                with trio.CancelScope(shield=True):
                    for listener, scope in zip(listeners, scopes, strict=True):
                        scope.deadline = trio.current_time() + finish_s
                        await trio.aclose_forcefully(listener)


async def _serve(
    provider: TerraformProvider,
    listener: trio.SocketListener,
    host: object,
    scope: trio.CancelScope,
) -> None:
    with scope:
        await provider.serve(listener, host, task_status=trio.TASK_STATUS_IGNORED)


@contextmanager
def _socket_directory(directory: Path, providers: Sequence[TerraformProvider]) -> Iterator[Path]:
    longest = max(len(os.fsencode(directory / f"{p.name}.sock")) for p in providers)
    if longest <= MAX_SOCKET_PATH_BYTES:
        yield directory
        return
    with tempfile.TemporaryDirectory(prefix="kled-tf-") as short:
        yield Path(short)


async def _listen(path: Path) -> trio.SocketListener:
    sock = trio.socket.socket(trio.socket.AF_UNIX)
    await sock.bind(str(path))
    sock.listen()
    return trio.SocketListener(sock)


@asynccontextmanager
async def _open_victim() -> AsyncIterator[int]:
    """Give the pid of a child that does nothing, and ends with us: `cat` of a pipe we hold."""
    process = await trio.lowlevel.open_process(
        ["cat"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, start_new_session=True
    )
    assert process.stdin is not None
    try:
        yield process.pid
    finally:
        with trio.CancelScope(shield=True):
            process.kill()
            await process.stdin.aclose()
            await process.wait()


def _reattach(providers: Sequence[TerraformProvider], sockets: Path, pid: int | str) -> str:
    return json.dumps(
        {
            address: {
                "Protocol": "grpc",
                "ProtocolVersion": PROTOCOL_VERSION,
                "Pid": pid,
                "Test": True,  # or Terraform kills the pid at the end of every command
                "Addr": {"Network": "unix", "String": str(sockets / f"{provider.name}.sock")},
            }
            for provider in providers
            for address in provider.addresses
        }
    )
