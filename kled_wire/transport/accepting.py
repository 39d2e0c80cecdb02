"""Accepting connections, also where the descriptors are used up."""

from __future__ import annotations

import errno
import math
from collections.abc import Awaitable, Callable
from typing import Final, Never

import trio

# The errors of accept(2) when the process or the machine has run out of something.
_USED_UP: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
_AGAIN_S: Final = 0.1
# How often the shortage is logged while it lasts.
_SAID_EVERY_S: Final = 60.0


async def accept_forever(
    listener: trio.SocketListener,
    serve: Callable[[trio.SocketStream], Awaitable[None]],
    connections: trio.Nursery,
    say_used_up: Callable[[OSError], object],
) -> Never:
    """Accept until cancelled, then close the listener; `serve` owns the connection.

    `say_used_up` is told once a minute where there are no descriptors left for the next.

    Raises OSError for a broken listener.
    Where there are no descriptors left, connections wait in the kernel until others have ended.
    """
    said_at = -math.inf
    async with listener:
        while True:
            try:
                connection = await listener.accept()
            except OSError as error:
                if error.errno not in _USED_UP:
                    raise
                if trio.current_time() - said_at >= _SAID_EVERY_S:
                    said_at = trio.current_time()
                    say_used_up(error)
                await trio.sleep(_AGAIN_S)
            else:
                connections.start_soon(serve, connection)
