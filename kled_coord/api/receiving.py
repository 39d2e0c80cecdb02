"""Limits on the size and time of a request's body, lower before authentication.

FastAPI reads a JSON body before it asks who sends it. So whoever sends more than a login needs
says who asks first.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import ClassVar, Final

import trio
from fastapi import Request
from starlette.types import Message, Receive

from kled_coord.api import tfstate
from kled_coord.api.guard import agent_of, bearer_of, caller_of
from kled_coord.identity.secrets import AGENT_TOKEN
from kled_coord.services import Services
from kled_wire.errors import InputError, UnavailableError
from kled_wire.limits import ANONYMOUS_BODY_MAX_BYTES

# A whole body has the first, and the time that it takes at the second: no network that Kled is
# meant for is slower.
_BODY_S: Final = 10.0
_BYTES_A_SECOND: Final = 64 * 1024

Admit = Callable[[], Awaitable[None]]


class BodyTooLargeError(InputError):
    """The request's body is over the limit of its route."""

    status: ClassVar[int] = 413


def body_too_large(limit: int) -> BodyTooLargeError:
    """The error of a body that is over its limit."""
    return BodyTooLargeError("body_too_large", f"the body is over {limit // 1024} KiB")


def body_seconds(limit: int) -> float:
    """How long a body of at most so many bytes may take to come."""
    return _BODY_S + limit / _BYTES_A_SECOND


def limited(receive: Receive, limit: int, admit: Admit) -> Receive:
    """`receive` that counts the body and its time, and calls `admit` before it takes much.

    It raises BodyTooLargeError, UnavailableError("body_timeout"), and what `admit` raises.
    """
    began = trio.current_time()
    allowed = min(limit, ANONYMOUS_BODY_MAX_BYTES)
    total = 0
    complete = False

    async def receive_limited() -> Message:
        nonlocal allowed, total, complete
        if complete:
            return await receive()
        with trio.move_on_at(began + body_seconds(allowed)):
            message = await receive()
            total += len(message.get("body", b""))
            complete = not message.get("more_body", False)
            if total > limit:
                raise body_too_large(limit)
            if total > allowed:
                await admit()
                allowed = limit
            return message
        raise UnavailableError(
            "body_timeout", f"the body was not received within {body_seconds(allowed):.0f} s"
        )

    return receive_limited


async def check_sender(services: Services, request: Request) -> None:
    """Raise UnauthenticatedError unless the request says who asks, in any of our ways."""
    path = request.url.path
    if path.startswith(f"{tfstate.PREFIX}/"):
        await tfstate.writer_of(request, services, path.removeprefix(f"{tfstate.PREFIX}/"))
        return
    bearer = await bearer_of(request)
    if bearer.startswith(AGENT_TOKEN):
        await agent_of(request, services, bearer)
    else:
        await caller_of(request, services, bearer)
