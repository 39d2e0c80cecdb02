"""The service of root's that makes containers for a coordinator which is not root.

Who may connect is decided by the socket's owner and mode. Each connection begins with a line that
says what it is for, and is answered with a line before anything else is said:

- `run`: a run of Terraform, with its workspace. The answer has a token; what is told to the person
  follows as lines, until the worker closes the connection, which ends the run. As it begins, what
  killed runs have left is collected.
- `stream`: a connection of Terraform of the run with that token; bytes of gRPC follow.
- `clear`, `output`, `follow`, `examine`: one question, one answer.
- `agent_end`: a question that is answered when the container of an agent has ended.
"""

from __future__ import annotations

import base64
import secrets
import traceback
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

import trio

from kled_provider.host import Host, HostError
from kled_provider.kata.leftovers import collect_leftovers
from kled_provider.kata.machine import KataMachine
from kled_provider.kata.output.reading import follow_container_output, read_container_output
from kled_provider.kata.provider import kata_provider
from kled_provider.kata.serving.here import (
    clear_here,
    examine_here,
    open_machine,
    wait_agent_here,
)
from kled_provider.kata.serving.lines import LineStream
from kled_provider.kata.serving.run_host import RunHost
from kled_provider.plugin.private import Replacements
from kled_provider.plugin.serving import serve_provider_connection

_FIRST_LINE_S: Final = 10.0
# How long an operation whose Terraform has died may go on (grpc.server.GRACE_AFTER_EOF_S).
_AFTER_RUN_S: Final = 30.0
_MAX_OUTPUT_BYTES: Final = 4 << 20


@dataclass(slots=True)
class _Run:
    """A run of Terraform: its host, what it replaces, and the scopes of its connections."""

    host: RunHost
    replacements: Replacements = field(default_factory=Replacements)
    scopes: set[trio.CancelScope] = field(default_factory=set)


class KataDaemon:
    """Answers connections; `serve` runs until it is cancelled.

    An error inside one ends that alone, and is told to `tell`.
    """

    def __init__(self, tell: Callable[[str], object]) -> None:
        self._tell = tell
        self._runs: dict[str, _Run] = {}

    async def serve(
        self,
        listener: trio.SocketListener,
        *,
        task_status: trio.TaskStatus[list[trio.SocketListener]] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Accept connections."""
        async with open_machine() as machine:
            serve = partial(self._serve, machine=machine)
            await trio.serve_listeners(serve, [listener], task_status=task_status)

    async def _serve(self, stream: trio.SocketStream, machine: KataMachine) -> None:
        lines = LineStream(stream)
        first = None
        try:
            with trio.move_on_after(_FIRST_LINE_S):
                first = await lines.receive()
            if first is not None:
                await self._answer(lines, first, machine)
        except (HostError, trio.BrokenResourceError, trio.ClosedResourceError):
            return  # the peer's mistake, or its end
        except Exception:  # noqa: BLE001 - the supervisor of connections: the others go on
            self._tell(f"error: a connection was ended\n{traceback.format_exc()}")
        finally:
            await trio.aclose_forcefully(stream)

    async def _answer(
        self, lines: LineStream, first: Mapping[str, Any], machine: KataMachine
    ) -> None:
        match first.get("kind"):
            case "run":
                await self._run(lines, first, machine)
            case "stream":
                await self._stream(lines, str(first.get("token")), machine)
            case "agent_end":
                await _tell_agent_end(lines, first)
            case kind:
                await lines.send(await _told(str(kind), first))

    async def _run(self, lines: LineStream, first: Mapping[str, Any], machine: KataMachine) -> None:
        token = secrets.token_hex(16)
        run = self._runs[token] = _Run(RunHost(dict(first["workspace"]), lines))
        try:
            await lines.send({"token": token})
            async with trio.open_nursery() as nursery:
                nursery.start_soon(collect_leftovers, machine)
                await _wait_end(lines)
                nursery.cancel_scope.cancel()
        finally:
            del self._runs[token]
            for scope in run.scopes:
                scope.deadline = trio.current_time() + _AFTER_RUN_S

    async def _stream(self, lines: LineStream, token: str, machine: KataMachine) -> None:
        run = self._runs.get(token)
        if run is None:
            await lines.send({"error": "there is no such run"})
            return
        await lines.send({})
        with trio.CancelScope() as scope:
            run.scopes.add(scope)
            try:
                host: Host = run.host
                await serve_provider_connection(
                    lines.stream, kata_provider(machine), host, run.replacements
                )
            finally:
                run.scopes.discard(scope)


async def _wait_end(lines: LineStream) -> None:
    """Return where the worker closes the connection, or says what it must not: that ends a run."""
    with suppress(HostError):
        while await lines.receive() is not None:
            pass


async def _tell_agent_end(lines: LineStream, asked: Mapping[str, Any]) -> None:
    """Answer when the container of an agent has ended, unless the worker leaves before."""
    async with trio.open_nursery() as nursery:

        async def tell() -> None:
            how, said = await wait_agent_here(str(asked["workspace"]), str(asked["agent"]))
            await lines.send({"how": how, "lines": said})
            nursery.cancel_scope.cancel()

        nursery.start_soon(tell)
        await _wait_end(lines)
        nursery.cancel_scope.cancel()


async def _follow(asked: Mapping[str, Any]) -> dict[str, Any]:
    found = await follow_container_output(
        str(asked["workspace"]),
        str(asked["name"]),
        str(asked["position"]),
        min(int(asked["most_bytes"]), _MAX_OUTPUT_BYTES),
    )
    if found is None:
        return {"output": None}
    return {"output": base64.b64encode(found[0]).decode(), "position": found[1]}


async def _output(asked: Mapping[str, Any]) -> dict[str, Any]:
    most = min(int(asked["most_bytes"]), _MAX_OUTPUT_BYTES)
    found = await read_container_output(str(asked["workspace"]), str(asked["name"]), most)
    return {"output": None if found is None else base64.b64encode(found).decode()}


async def _clear(asked: Mapping[str, Any]) -> dict[str, Any]:
    await clear_here(str(asked["workspace"]))
    return {}


async def _examine(_asked: Mapping[str, Any]) -> dict[str, Any]:
    return {"lines": await examine_here()}


_QUESTIONS: Final[Mapping[str, Callable[[Mapping[str, Any]], Awaitable[dict[str, Any]]]]] = {
    "clear": _clear,
    "examine": _examine,
    "follow": _follow,
    "output": _output,
}


async def _told(kind: str, asked: Mapping[str, Any]) -> dict[str, Any]:
    """Answer one question; what fails is told by its sentence."""
    if kind not in _QUESTIONS:
        return {"error": f"{kind[:80]!r} is not known"}
    try:
        return await _QUESTIONS[kind](asked)
    except OSError as error:
        return {"error": str(error)}
    except Exception as error:
        message = getattr(error, "message", None)
        if not isinstance(message, str):
            raise
        return {"error": message, "hint": getattr(error, "hint", None)}
