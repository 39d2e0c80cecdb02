"""Cancels the work of a request when its client disconnects."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

import trio
from fastapi import Request

from kled_coord.terraform.process.nurseries import one_error
from kled_wire.errors import UnavailableError

T = TypeVar("T")


async def run_while_connected(request: Request, work: Callable[[], Awaitable[T]]) -> T:
    """Do `work`; it is cancelled when the client leaves. The request's body has been read.

    Raises what `work` raises, and UnavailableError("client_left"), which nobody reads.
    """
    with one_error():
        async with trio.open_nursery() as nursery:

            async def watch() -> None:
                while (await request.receive())["type"] != "http.disconnect":
                    pass
                nursery.cancel_scope.cancel()

            nursery.start_soon(watch)
            done = await work()
            nursery.cancel_scope.cancel()
            return done
    raise UnavailableError("client_left", "the client disconnected before the answer")
