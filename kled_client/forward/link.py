"""Keeps a connection to the workspace: when one is lost for good, another is made.

The resumable stream below SSH outlives networks; what ends it is the agent or the workspace.
"""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING, Final, Protocol

import trio

from kled_client.forward.spec import End
from kled_client.report import only_cause
from kled_wire.backoff import Backoff, Pace, Redials
from kled_wire.errors import (
    ForbiddenError,
    KledError,
    NotFoundError,
    UnauthenticatedError,
    UnavailableError,
)

if TYPE_CHECKING:
    from kled_client.ssh.channel import Channel

BACKOFF: Final = Backoff(first_s=0.2, cap_s=10.0)
# An agent that dies after each connection is asked at most 22 times in a minute, in the long run
# as often as one that is away.
PACE: Final = Pace(burst=10, every_s=BACKOFF.cap_s / 2)
# How long a forwarded connection waits while there is none to the workspace.
PATIENCE_S: Final = 15.0
# Errors that no later attempt can change: a person must act.
_FINAL: Final = (UnauthenticatedError, ForbiddenError, NotFoundError)


class WorkspaceConnection(Protocol):
    """What forwards need of a connection (ssh.SshWorkspaceConnection)."""

    @property
    def is_lost(self) -> bool:
        """Whether nothing can be opened any more."""

    async def wait_lost(self) -> None:
        """Wait until the connection has ended."""

    async def open(self, end: End) -> trio.abc.HalfCloseableStream:
        """Connect from the workspace to `end`."""

    def listening(
        self, end: End, accept: Callable[[trio.abc.HalfCloseableStream], None]
    ) -> AbstractAsyncContextManager[End]:
        """Let the workspace listen on `end`."""

    async def subsystem(self, name: str) -> Channel:
        """Open an SSH subsystem."""


Connect = Callable[[], AbstractAsyncContextManager[WorkspaceConnection]]
OnUp = Callable[[WorkspaceConnection, trio.Nursery], Awaitable[None]]


class Link:
    """The present connection, if there is one; kept by `hold_link`."""

    def __init__(self) -> None:
        self._connection: WorkspaceConnection | None = None
        self._there = trio.Event()

    @asynccontextmanager
    async def holding(self, connection: WorkspaceConnection) -> AsyncIterator[None]:
        """`connection` is the present one while the block runs."""
        self._connection = connection
        self._there.set()
        try:
            yield
        finally:
            self._connection = None
            self._there = trio.Event()

    async def open(self, end: End) -> trio.abc.HalfCloseableStream:
        """Connect to `end`, waiting for a connection if there is none just now.

        Raises UnavailableError("forward_refused") or ("workspace_away").
        """
        with trio.move_on_after(PATIENCE_S):
            while True:
                await self._there.wait()
                connection = self._connection
                if connection is None or connection.is_lost:
                    await trio.sleep(0.05)  # `hold_link` is about to see it
                    continue
                try:
                    return await connection.open(end)
                except UnavailableError:
                    if not connection.is_lost:
                        raise
        raise UnavailableError("workspace_away", "the workspace is not reachable at the moment")


async def hold_link(
    link: Link,
    connect: Connect,
    on_up: OnUp,
    on_state: Callable[[str], None],
    *,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Keep a connection in `link`; `on_up` runs for each, with a nursery that ends with it.

    `started` after the first one is up. Raises what went wrong with the first, and later what only
    a person can mend; `on_state` is told why the connection was lost, and "" when it is back.
    """
    redials, begun = Redials(BACKOFF, PACE, random.random, spread_s=BACKOFF.first_s), False
    while True:
        reason, was_up = "the connection was lost", False
        try:
            async with (
                connect() as connection,
                link.holding(connection),
                trio.open_nursery() as nursery,
            ):
                await on_up(connection, nursery)
                if redials.failures:
                    on_state("")
                if not begun:
                    task_status.started()
                was_up = begun = True
                await connection.wait_lost()
                nursery.cancel_scope.cancel()
        except (KledError, OSError, ExceptionGroup) as exc:
            reason = _excuse(exc, begun=begun)
        wait_s = (redials.lost if was_up else redials.failed)(trio.current_time())
        if redials.failures == 1:
            on_state(reason)
        await trio.sleep(wait_s)


def _excuse(error: Exception, *, begun: bool) -> str:
    """Why the connection was lost, in a sentence. Raises what is no reason to try again."""
    cause = only_cause(error)
    if not begun or isinstance(cause, _FINAL) or not isinstance(cause, KledError | OSError):
        raise error
    return str(cause)
