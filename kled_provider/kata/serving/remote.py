"""The provider by the service of root's: a worker that is not root passes everything on to it."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from typing import Any, Final, NoReturn

import trio

from kled_provider.host import Host, HostError
from kled_provider.kata.machine import KataMachine
from kled_provider.kata.provider import kata_provider
from kled_provider.kata.serving.lines import LineStream
from kled_provider.plugin.private import Replacements
from kled_provider.plugin.serving import serve_connections, serve_provider_connection

DEFAULT_SOCKET: Final = "/run/kled-kata/provider.sock"
_DIAL_S: Final = 10.0
_COPY_BYTES: Final = 64 << 10


async def serve_remote(
    listener: trio.SocketListener,
    host: Host,
    path: str,
    *,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Pass the connections of one run on, until the listener is closed and the last has ended.

    The service is asked when the first comes: most runs use no container.
    """
    run = _RemoteRun(host, path)
    async with trio.open_nursery() as telling:
        serve = partial(run.carry, telling=telling)
        await serve_connections(listener, serve, task_status=task_status)
        telling.cancel_scope.cancel()


class _RemoteRun:
    def __init__(self, host: Host, path: str) -> None:
        self._host = host
        self._path = path
        self._token = ""
        self._beginning = trio.Lock()

    async def carry(self, stream: trio.SocketStream, telling: trio.Nursery) -> None:
        """Pass one connection on; without the service every operation says so."""
        async with stream:
            try:
                await self._begin(telling)
                lines, _ = await _ask(self._path, {"kind": "stream", "token": self._token})
            except HostError as error:
                machine = KataMachine(partial(_raise, error))
                await serve_provider_connection(
                    stream, kata_provider(machine), self._host, Replacements()
                )
                return
            async with lines.stream, trio.open_nursery() as nursery:
                nursery.start_soon(_copy, stream, lines.stream)
                nursery.start_soon(_copy, lines.stream, stream)

    async def _begin(self, telling: trio.Nursery) -> None:
        async with self._beginning:
            if not self._token:
                workspace = dict(await self._host.workspace())
                lines, said = await _ask(self._path, {"kind": "run", "workspace": workspace})
                self._token = str(said["token"])
                telling.start_soon(self._tell, lines)

    async def _tell(self, lines: LineStream) -> None:
        """Tell the person what the service says."""
        async with lines.stream:
            while (said := await lines.receive()) is not None:
                if "progress" in said:
                    await self._host.progress(str(said["progress"]))
                if "note" in said:
                    await self._host.note(str(said["note"]))
        # The service has ended, and the next one knows no run of this one's.
        self._token = ""


async def clear_remote(workspace: str, path: str) -> None:
    """End the containers of a workspace. Raises HostError. Without a service there are none."""
    if await trio.Path(path).exists():
        lines, _ = await _ask(path, {"kind": "clear", "workspace": workspace})
        await lines.stream.aclose()


async def examine_remote(path: str) -> list[Mapping[str, str]]:
    """Say what this machine has for the provider, in lines. Raises HostError."""
    lines, said = await _ask(path, {"kind": "examine"})
    await lines.stream.aclose()
    return list(said["lines"])


async def output_remote(workspace: str, name: str, most_bytes: int, path: str) -> bytes | None:
    """Return the last of what a container printed; None where there is none. Raises HostError."""
    if not await trio.Path(path).exists():
        return None
    asked = {"kind": "output", "workspace": workspace, "name": name, "most_bytes": most_bytes}
    lines, said = await _ask(path, asked)
    await lines.stream.aclose()
    return None if said["output"] is None else base64.b64decode(said["output"])


async def follow_remote(
    workspace: str, name: str, position: str, most_bytes: int, path: str
) -> tuple[bytes, str] | None:
    """As `follow_container_output`, by the service. Raises HostError."""
    if not await trio.Path(path).exists():
        return None
    asked = {"kind": "follow", "workspace": workspace, "name": name, "most_bytes": most_bytes}
    lines, said = await _ask(path, {**asked, "position": position})
    await lines.stream.aclose()
    if said["output"] is None:
        return None
    return base64.b64decode(said["output"]), str(said["position"])


async def wait_agent_remote(
    workspace: str, agent_id: str, path: str
) -> tuple[str, tuple[str, ...]]:
    """Return how an agent's container has ended, and what it printed last.

    Waits until it is cancelled where there is none, or no service that can tell.
    """
    with suppress(HostError):
        asked = {"kind": "agent_end", "workspace": workspace, "agent": agent_id}
        lines, said = await _ask(path, asked)
        await lines.stream.aclose()
        return str(said["how"]), tuple(map(str, said["lines"]))
    return await trio.sleep_forever()


async def _ask(path: str, asked: Mapping[str, Any]) -> tuple[LineStream, Mapping[str, Any]]:
    """Connect, say what for, and return the answer with the connection. Raises HostError."""
    try:
        with trio.fail_after(_DIAL_S):
            stream = await trio.open_unix_socket(path)
    except (OSError, trio.TooSlowError) as error:
        why = getattr(error, "strerror", None) or f"no answer within {_DIAL_S:.0f} s"
        raise HostError(
            f"There is no service of the provider kata at {path}: {why}",
            hint="The coordinator is not root: run `systemctl enable --now kled-kata.socket`.",
        ) from error
    lines = LineStream(stream)
    try:
        await lines.send(asked)
        said = await lines.receive()
    except trio.BrokenResourceError:
        said = None
    except BaseException:
        await trio.aclose_forcefully(stream)
        raise
    if said is None or "error" in said:
        await trio.aclose_forcefully(stream)
        text = "it ended the connection" if said is None else str(said["error"])
        raise HostError(f"The service of the provider kata: {text}", hint=(said or {}).get("hint"))
    return lines, said


async def _copy(source: trio.abc.Stream, target: trio.abc.Stream) -> None:
    try:
        while data := await source.receive_some(_COPY_BYTES):
            await target.send_all(data)
        if isinstance(target, trio.SocketStream):
            await target.send_eof()
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        # One side is gone, so the other is closed too.
        await trio.aclose_forcefully(source)
        await trio.aclose_forcefully(target)


def _raise(error: HostError) -> NoReturn:
    raise error
