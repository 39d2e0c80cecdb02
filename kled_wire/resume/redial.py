"""Keep one resumable stream attached: dial, carry, dial again; give up with the reason."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from typing import Final

import trio

from kled_wire.errors import (
    KledError,
    UnavailableError,
)
from kled_wire.resume.frames import New, encode_greeting
from kled_wire.resume.handshake import RandomBytes, ask_to_resume
from kled_wire.resume.retry import BACKOFF, is_final
from kled_wire.resume.stream import ResumableStream, TransportLost

Dial = Callable[[], Awaitable[trio.abc.HalfCloseableStream]]

DIAL_TIMEOUT_S: Final = 20.0
# A loss that is mended sooner is nobody's business.
NOTICE_S: Final = 1.0
_LOST: Final = (
    TransportLost,
    trio.BrokenResourceError,
    trio.ClosedResourceError,
    trio.TooSlowError,
    OSError,
)


async def keep_attached(
    stream: ResumableStream,
    new: New,
    dial: Dial,
    *,
    random_bytes: RandomBytes,
    on_lost: Callable[[str], None] = lambda _reason: None,
    on_resumed: Callable[[], None] = lambda: None,
) -> None:
    """Carry `stream` over transports from `dial` until it is over.

    The first transport begins the stream. What cannot be mended ends it with the reason, which its
    readers and writers get. `on_lost` is told why the way has been gone for NOTICE_S, and then
    `on_resumed` that there is one again.
    """
    failures, begun, told, lost_at = 0, False, False, 0.0
    while not stream.machine.over:
        before = stream.machine.progress
        try:
            transport, position, begun = await _open(stream, new, dial, random_bytes, begun=begun)
            if told:
                told = False
                on_resumed()
            await stream.run_transport(transport, position)
        except _LOST as exc:
            reason = str(exc) or "the coordinator does not answer"
        except KledError as exc:
            if is_final(exc, begun=begun):
                stream.fail(exc.code, exc.message)
                return
            reason = exc.message
        else:
            continue
        if stream.machine.progress > before:
            failures = 0  # that transport was a good one
        failures += 1
        if failures == 1:
            lost_at = trio.current_time()
        if not told and trio.current_time() - lost_at >= NOTICE_S:
            told = True
            on_lost(reason)
        await trio.sleep(BACKOFF.delay(failures, random.random))


async def _open(
    stream: ResumableStream, new: New, dial: Dial, random_bytes: RandomBytes, *, begun: bool
) -> tuple[trio.abc.HalfCloseableStream, int, bool]:
    """A transport on which the stream begins or goes on, and the peer's position."""
    with trio.fail_after(DIAL_TIMEOUT_S):
        transport = await dial()
        try:
            if not begun:
                await transport.send_all(encode_greeting(new))
                return transport, 0, True
            position, transport = await ask_to_resume(
                transport, new, position=stream.machine.inbox.position, random_bytes=random_bytes
            )
        except UnavailableError as exc:
            await trio.aclose_forcefully(transport)
            if exc.code == "unknown_stream" and not stream.machine.touched:
                # Our hello never arrived: nothing was said yet, so it can be said again.
                return await _open(stream, new, dial, random_bytes, begun=False)
            raise
        except BaseException:
            await trio.aclose_forcefully(transport)
            raise
        return transport, position, True
