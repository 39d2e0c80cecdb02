"""The ASGI messages of one request: its body piece by piece, then the disconnection.

Hypercorn's own queue blocks whoever puts into it once the application has answered without taking
the whole body; the connection then stays for ever, with all that it holds.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

import trio
from hypercorn.config import Config as HypercornConfig
from hypercorn.trio.task_group import TaskGroup, _handle
from hypercorn.typing import AppWrapper, ASGIReceiveEvent, ASGISendEvent, HTTPDisconnectEvent, Scope

T = TypeVar("T")


class Mailbox:
    """Passes a body to the application piece by piece; drops what comes once the client is gone."""

    def __init__(self) -> None:
        self._put, self._take = trio.open_memory_channel[ASGIReceiveEvent](1)
        self._gone = False
        self._waiting: set[trio.CancelScope] = set()

    async def put(self, message: ASGIReceiveEvent) -> None:
        """Put a piece in, or end it with `http.disconnect`, which never waits."""
        if message["type"] != "http.disconnect":
            await self._unless_gone(lambda: self._put.send(message))
            return
        self._gone = True
        for scope in self._waiting:
            scope.cancel()
        await trio.lowlevel.checkpoint()

    async def take(self) -> ASGIReceiveEvent:
        """The next piece; what had come before the client went is still given out."""
        piece: ASGIReceiveEvent | None
        try:
            piece = self._take.receive_nowait()
        except trio.WouldBlock:
            piece = await self._unless_gone(self._take.receive)
        return HTTPDisconnectEvent(type="http.disconnect") if piece is None else piece

    async def _unless_gone(self, wait: Callable[[], Awaitable[T]]) -> T | None:
        with trio.CancelScope() as scope:
            if self._gone:
                scope.cancel()
            self._waiting.add(scope)
            try:
                return await wait()
            finally:
                self._waiting.discard(scope)
        return None


class AppTasks(TaskGroup):
    """Hypercorn's task group, with our mailbox between a request and the application."""

    async def spawn_app(
        self,
        app: AppWrapper,
        config: HypercornConfig,
        scope: Scope,
        send: Callable[[ASGISendEvent | None], Awaitable[None]],
    ) -> Callable[[ASGIReceiveEvent], Awaitable[None]]:
        """Serve one request."""
        mailbox = Mailbox()
        thread = trio.to_thread.run_sync, trio.from_thread.run
        self.spawn(_handle, app, config, scope, mailbox.take, send, *thread)
        return mailbox.put
