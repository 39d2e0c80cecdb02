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
from kled_wire.resume.direct.paths import SETTLE_S
from kled_wire.resume.direct.seeker import DirectSeeker
from kled_wire.resume.driver import TransportLost
from kled_wire.resume.frames import New, encode_greeting
from kled_wire.resume.handshake import RandomBytes, ask_to_resume
from kled_wire.resume.netwatch import NetworkWatch
from kled_wire.resume.retry import is_final, make_redials
from kled_wire.resume.stream import ResumableStream

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
    direct: DirectSeeker,
    on_lost: Callable[[str], None] = lambda _reason: None,
    on_resumed: Callable[[], None] = lambda: None,
) -> None:
    """Carry `stream` over transports from `dial`, or `direct` ones, until it is over.

    The first transport begins the stream. What cannot be mended ends it with the reason, which its
    readers and writers get. `on_lost` is told why the way has been gone for NOTICE_S, and then
    `on_resumed` that there is one again.
    """
    notice = _Notice(on_lost, on_resumed)
    opener = _Opener(stream, new, dial, random_bytes, direct)
    network = NetworkWatch()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(network.run)
        nursery.start_soon(direct.run, stream, new, network)
        await _keep(stream, opener, direct, network, notice)
        nursery.cancel_scope.cancel()


async def _keep(
    stream: ResumableStream,
    opener: _Opener,
    direct: DirectSeeker,
    network: NetworkWatch,
    notice: _Notice,
) -> None:
    redials = make_redials(random.random)
    while not stream.state.over:
        before = stream.state.progress
        try:
            if opened := await opener.open():
                notice.attached()
                with network.guard(opened[0]):
                    await stream.run_transport(*opened)
        except _LOST as exc:
            reason = str(exc) or "the coordinator does not answer"
        except KledError as exc:
            if is_final(exc, begun=opener.begun):
                stream.fail(exc.code, exc.message)
                return
            reason = exc.message
        else:
            # The stream is over, or a direct path carries it.
            if direct.carrying:
                notice.attached()
            await direct.wait_lost()
            redials.begin_anew()
            continue
        direct.relay_lost()
        good = opener.proven or stream.state.progress > before
        wait_s = (redials.lost if good else redials.failed)(trio.current_time())
        notice.failed(reason, first=redials.failures == 1)
        with direct.unless_taken(), trio.move_on_after(wait_s):
            await network.wait_changed()
            await trio.sleep(SETTLE_S)


class _Notice:
    """Tells a person that a stream has lost its transport for long, and when it has one again."""

    def __init__(self, on_lost: Callable[[str], None], on_resumed: Callable[[], None]) -> None:
        self._on_lost = on_lost
        self._on_resumed = on_resumed
        self._told = False
        self._lost_at = 0.0

    def failed(self, reason: str, *, first: bool) -> None:
        """There is no way; `first`: since now."""
        now = trio.current_time()
        if first:
            self._lost_at = now
        if not self._told and now - self._lost_at >= NOTICE_S:
            self._told = True
            self._on_lost(reason)

    def attached(self) -> None:
        """There is one again."""
        if self._told:
            self._told = False
            self._on_resumed()


class _Opener:
    """Opens transports through the relay, on which the stream begins or goes on."""

    def __init__(
        self,
        stream: ResumableStream,
        new: New,
        dial: Dial,
        random_bytes: RandomBytes,
        direct: DirectSeeker,
    ) -> None:
        self._stream = stream
        self._new = new
        self._dial = dial
        self._random_bytes = random_bytes
        self._direct = direct
        self.begun = False
        # Whether the agent has proven itself on the last transport.
        self.proven = False
        self._is_new = True

    async def open(self) -> tuple[trio.abc.HalfCloseableStream, int] | None:
        """A transport and the peer's position; None when a direct path has the stream meanwhile."""
        self.proven = False
        with trio.fail_after(DIAL_TIMEOUT_S):
            transport: trio.abc.HalfCloseableStream | None = None
            with self._direct.unless_taken():
                if not self._direct.carrying:
                    transport = await self._dial()
            if transport is None:
                return None
            try:
                if self._direct.carrying:
                    await trio.aclose_forcefully(transport)
                    return None
                self._direct.relay_greets()
                return await self._greet(transport)
            except UnavailableError as exc:
                await trio.aclose_forcefully(transport)
                if exc.code == "unknown_stream" and not self._stream.state.touched:
                    # Our hello never arrived: nothing was said yet, so it can be said again.
                    self._is_new = True
                    return await self.open()
                raise
            except BaseException:
                await trio.aclose_forcefully(transport)
                raise

    async def _greet(
        self, transport: trio.abc.HalfCloseableStream
    ) -> tuple[trio.abc.HalfCloseableStream, int]:
        if self._is_new:
            await transport.send_all(encode_greeting(self._new))
            self.begun, self._is_new = True, False
            return transport, 0
        position, transport = await ask_to_resume(
            transport,
            self._new,
            position=self._stream.state.inbox.position,
            random_bytes=self._random_bytes,
        )
        self.proven = True
        return transport, position
