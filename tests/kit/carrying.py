"""The accepting end of a stream in WebSocket messages, by trio-websocket.

A coordinator answers such a request itself and leaves the frames to an offload process.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio
import trio_websocket

from kled_wire.errors import KledError
from kled_wire.transport.wscarrier import CarriedStream


@asynccontextmanager
async def accept_carried(
    request_stream: trio.abc.Stream,
) -> AsyncIterator[CarriedStream]:
    """Answer a WebSocket request that is still unread in `request_stream`; give its stream.

    What a stream's user raises comes out as it is, not in the group of the nursery in here.
    """
    problem: KledError | trio.BrokenResourceError | None = None
    async with trio.open_nursery() as nursery:
        request = await trio_websocket.wrap_server_stream(nursery, request_stream)
        connection = await request.accept()
        stream = CarriedStream(connection, request_stream)
        try:
            yield stream
        except (KledError, trio.BrokenResourceError) as exc:
            problem = exc
        finally:
            await stream.aclose()
            nursery.cancel_scope.cancel()
    if problem is not None:
        raise problem
