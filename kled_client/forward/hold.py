"""Hold forwards up: local ends opened once, the workspace's ends again after each reconnection."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass

import trio

from kled_client.forward.auto import auto_forward, plan_auto
from kled_client.forward.link import Connect, Link, WorkspaceConnection, hold_link
from kled_client.forward.serve import ForwardStatus, listening_here, serve_here, serve_there
from kled_client.forward.spec import Forward, ForwardKind
from kled_client.forward.udp import listening_udp, serve_udp
from kled_client.forward.view import ForwardView
from kled_client.ssh.ports import watch_ports
from kled_wire.errors import ConflictError, InputError, KledError, UnavailableError
from kled_wire.ssh.subsystems import PORTS, ReportedPort


@dataclass(frozen=True, slots=True, kw_only=True)
class ForwardPlan:
    """What to hold up; `auto` adds whatever listens in the workspace."""

    forwards: Sequence[Forward]
    auto: bool = False


async def hold_forwards(plan: ForwardPlan, connect: Connect, link: Link, view: ForwardView) -> None:
    """Hold the forwards until cancelled, or until a person has to act.

    Raises what keeps the forwards from beginning.
    """
    async with AsyncExitStack() as stack, trio.open_nursery() as nursery:
        here = [
            await stack.enter_async_context(listening_here(forward))
            for forward in plan.forwards
            if forward.kind in {ForwardKind.LOCAL, ForwardKind.DYNAMIC}
        ]
        udp = [
            await stack.enter_async_context(listening_udp(forward))
            for forward in plan.forwards
            if forward.kind is ForwardKind.UDP
        ]
        there = [
            ForwardStatus(forward=forward, listen=forward.listen)
            for forward in plan.forwards
            if forward.kind is ForwardKind.REMOTE
        ]
        auto = AutoForwards(link, view, nursery) if plan.auto else None
        holder = _Holder(there, udp, auto, view)
        await nursery.start(hold_link, link, connect, holder.on_up, view.link_changed)
        for listeners, status in here:
            nursery.start_soon(serve_here, listeners, status, link)
            view.added(status)
        for _, status in udp:
            view.added(status)
        view.note("forwarding", "forwarding; Ctrl-C ends it")
        nursery.start_soon(view.run)


class _Holder:
    """What has to be done over again with each new connection."""

    def __init__(
        self,
        there: list[ForwardStatus],
        udp: list[tuple[trio.socket.SocketType, ForwardStatus]],
        auto: AutoForwards | None,
        view: ForwardView,
    ) -> None:
        self._there = there
        self._udp = udp
        self._auto = auto
        self._view = view
        self._first = True

    async def on_up(self, connection: WorkspaceConnection, nursery: trio.Nursery) -> None:
        """Let the workspace listen again, and watch its ports."""
        first, self._first = self._first, False
        for status in self._there:
            await nursery.start(self._serve_there, connection, status, first)
        for here, status in self._udp:
            nursery.start_soon(self._serve_udp, connection, here, status)
        if self._auto is not None:
            nursery.start_soon(self._auto.follow, connection)

    async def _serve_udp(
        self, connection: WorkspaceConnection, here: trio.socket.SocketType, status: ForwardStatus
    ) -> None:
        try:
            await serve_udp(connection, here, status)
        except UnavailableError as exc:
            status.failed(exc.message)
            if not connection.is_lost:
                self._view.note("udp_unsupported", f"--udp does not work: {exc.message}")

    async def _serve_there(
        self,
        connection: WorkspaceConnection,
        status: ForwardStatus,
        first: bool,
        *,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        def on_up() -> None:
            if first:
                self._view.added(status)
            task_status.started()

        try:
            await serve_there(status.forward, connection, status, on_up)
        except ConflictError as exc:
            if first:
                raise
            # Held by what the old connection left behind, or by another program by now.
            status.failed(exc.message)
            self._view.note("remote_port_refused", exc.message)
            task_status.started()


class AutoForwards:
    """A forward for each port that listens in the workspace; `nursery` outlives the ways."""

    def __init__(self, link: Link, view: ForwardView, nursery: trio.Nursery) -> None:
        self._link = link
        self._view = view
        self._nursery = nursery
        self._held: dict[int, int] = {}
        self._scopes: dict[int, trio.CancelScope] = {}

    async def follow(self, connection: WorkspaceConnection) -> None:
        """Add and remove as the workspace's ports come and go, until `connection` ends."""
        try:
            channel = await connection.subsystem(PORTS)
            async for ports in watch_ports(channel):
                new, gone = plan_auto(self._held, ports)
                for number in gone:
                    self._scopes[number].cancel()
                for port in new:
                    if port.port not in self._scopes:
                        await self._nursery.start(self._serve, port)
        except KledError as exc:
            if not connection.is_lost:
                self._view.note("ports_unknown", f"--auto does not work: {exc.message}")

    async def _serve(
        self,
        port: ReportedPort,
        *,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        with trio.CancelScope() as scope:
            self._scopes[port.port] = scope
            try:
                await self._serve_one_of(port, task_status)
            finally:
                self._held.pop(port.port, None)
                del self._scopes[port.port]

    async def _serve_one_of(self, port: ReportedPort, started: trio.TaskStatus[None]) -> None:
        """The same number here, or any free one."""
        for number in (port.port, 0):
            try:
                async with listening_here(auto_forward(port, number)) as (listeners, status):
                    local = int(listeners[0].socket.getsockname()[1])
                    self._held[port.port] = local
                    self._view.added(status)
                    started.started()
                    try:
                        await serve_here(listeners, status, self._link)
                    finally:
                        self._view.removed(status)
            except (ConflictError, InputError) as exc:
                if number == 0:
                    self._view.note("cannot_listen", exc.message)
        started.started()
