"""The way to the workspace, held for ever: when one connection is lost for good, another is made.

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
# How long a new connection waits for a way.
PATIENCE_S: Final = 15.0
# What no later attempt can change: a person must act.
_FINAL: Final = (UnauthenticatedError, ForbiddenError, NotFoundError)


class WayBack(Protocol):
    """What forwards need of a connection (ssh.SshWay)."""

    @property
    def is_lost(self) -> bool:
        """Whether nothing can be opened any more."""

    async def wait_lost(self) -> None:
        """Until the connection has ended."""

    async def open(self, end: End) -> trio.abc.HalfCloseableStream:
        """Connect from the workspace to `end`."""

    def listening(
        self, end: End, accept: Callable[[trio.abc.HalfCloseableStream], None]
    ) -> AbstractAsyncContextManager[End]:
        """Let the workspace listen on `end`."""

    async def subsystem(self, name: str) -> Channel:
        """Open an SSH subsystem."""


OpenWay = Callable[[], AbstractAsyncContextManager[WayBack]]
OnUp = Callable[[WayBack, trio.Nursery], Awaitable[None]]


class Link:
    """The present way, if there is one; kept by `hold_link`."""

    def __init__(self) -> None:
        self._way: WayBack | None = None
        self._there = trio.Event()

    @asynccontextmanager
    async def holding(self, way: WayBack) -> AsyncIterator[None]:
        """`way` is the present one while the block runs."""
        self._way = way
        self._there.set()
        try:
            yield
        finally:
            self._way = None
            self._there = trio.Event()

    async def open(self, end: End) -> trio.abc.HalfCloseableStream:
        """Connect to `end`, waiting for a way if there is none just now.

        Raises UnavailableError("forward_refused") or ("workspace_away").
        """
        with trio.move_on_after(PATIENCE_S):
            while True:
                await self._there.wait()
                way = self._way
                if way is None or way.is_lost:
                    await trio.sleep(0.05)  # `hold_link` is about to see it
                    continue
                try:
                    return await way.open(end)
                except UnavailableError:
                    if not way.is_lost:
                        raise
        raise UnavailableError("workspace_away", "the workspace is not reachable at the moment")


async def hold_link(
    link: Link,
    open_way: OpenWay,
    on_up: OnUp,
    on_state: Callable[[str], None],
    *,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Keep a way in `link`; `on_up` is run for each, with a nursery that ends with the way.

    `started` after the first one is up. Raises what went wrong with the first, and later what only
    a person can mend; `on_state` is told why the way was lost, and "" when it is back.
    """
    redials, begun = Redials(BACKOFF, PACE, random.random, spread_s=BACKOFF.first_s), False
    while True:
        reason, was_up = "the connection was lost", False
        try:
            async with open_way() as way, link.holding(way), trio.open_nursery() as nursery:
                await on_up(way, nursery)
                if redials.failures:
                    on_state("")
                if not begun:
                    task_status.started()
                was_up = begun = True
                await way.wait_lost()
                nursery.cancel_scope.cancel()
        except (KledError, OSError, ExceptionGroup) as exc:
            reason = _excuse(exc, begun=begun)
        wait_s = (redials.lost if was_up else redials.failed)(trio.current_time())
        if redials.failures == 1:
            on_state(reason)
        await trio.sleep(wait_s)


def _excuse(error: Exception, *, begun: bool) -> str:
    """Why the way was lost, in a sentence. Raises what is no reason to try again."""
    cause = only_cause(error) if isinstance(error, BaseExceptionGroup) else error
    if not begun or isinstance(cause, _FINAL) or not isinstance(cause, KledError | OSError):
        raise error
    return str(cause)
