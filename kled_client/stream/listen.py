"""A port of this machine, each of whose connections is a stream to the workspace.

For clients that know no ProxyCommand. What comes in is nobody in particular: whoever may connect
here gets a stream as the user who listens, and must still prove themselves to the SSH server.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Never

import trio

from kled_wire.errors import KledError
from kled_wire.transport.accepting import accept_forever
from kled_wire.transport.pump import pump

# Opens a stream; what it needs runs in the nursery. Raises KledError.
OpenStream = Callable[[trio.Nursery], Awaitable[trio.abc.HalfCloseableStream]]


async def serve_streams(
    listeners: list[trio.SocketListener], open_stream: OpenStream, report: Callable[[str], None]
) -> Never:
    """Join each connection with a stream of its own, until cancelled.

    One for which there is no stream is closed, and `report` told why.
    """

    async def serve(here: trio.SocketStream) -> None:
        async with here:
            try:
                await _join(here, open_stream)
            except KledError as error:
                report(error.line())
            except trio.BrokenResourceError:
                return  # one side broke off; the other is told by closing

    def say_used_up(error: OSError) -> None:
        report(f"connections wait: {error.strerror}")

    async with trio.open_nursery() as nursery:
        for listener in listeners:
            nursery.start_soon(accept_forever, listener, serve, nursery, say_used_up)
    raise AssertionError("unreachable")


async def _join(here: trio.SocketStream, open_stream: OpenStream) -> None:
    """Carry one connection to its end. Raises KledError, trio.BrokenResourceError."""
    problem: Exception | None = None
    async with trio.open_nursery() as nursery:
        try:
            async with await open_stream(nursery) as there:
                await pump(here, there)
        except (KledError, trio.BrokenResourceError) as error:
            problem = error
        nursery.cancel_scope.cancel()
    if problem is not None:
        raise problem
