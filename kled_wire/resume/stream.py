"""A resumable stream under Trio: a HalfCloseableStream over transports that come and go.

`run_transport` carries it over one transport (driver.py); whoever owns the stream calls it again
with the next one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import Final

import trio

from kled_wire.resume.driver import TransportDriver
from kled_wire.resume.frames import DATA_MAX
from kled_wire.resume.state import StreamState
from kled_wire.scheduling import TypingPriority, YieldBudget
from kled_wire.transport.exclusive import Exclusive, check_size

# Small pieces that arrive are joined into blocks of this size: an object for each byte would cost
# much memory.
_JOINED_BYTES: Final = 4096
CLOSED: Final = "closed"


class ResumableStream(trio.abc.HalfCloseableStream):
    """One end of a resumable stream. Made detached; `state` decides, this moves bytes."""

    def __init__(self, state: StreamState) -> None:
        self.state = state
        self._reading = YieldBudget()
        self._writing = YieldBudget()
        self._received: deque[bytes] = deque()
        self._arrived = trio.Event()
        self._room = trio.Event()
        self._over = trio.Event()
        self._receiver: Callable[[bytes], None] | None = None
        self._priority = TypingPriority()
        self._driver: TransportDriver | None = None
        self._closed = self._eof_sent = False
        self._sender = Exclusive("sending on this stream")
        self._reader = Exclusive("receiving from this stream")

    # The application's side.

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Write, waiting while the window is full. Raises trio.BrokenResourceError."""
        with self._sender:
            self._check_open(self._closed or self._eof_sent)
            await self._send(data)

    async def _send(self, data: bytes | bytearray | memoryview) -> None:
        # Kept by reference, so it must not change any more: only what could is copied.
        view = memoryview(data if isinstance(data, bytes) else bytes(data))
        await self._writing.checkpoint()
        self._writing.moved(len(view))
        for start in range(0, len(view), DATA_MAX):
            await self._wait_room()
            self._check_open(self._closed)
            if self.state.closed is not None:
                raise trio.BrokenResourceError(self.state.closed.message)
            self.state.write(view[start : start + DATA_MAX])
            self.flush_nowait()

    def write_nowait(self, pieces: Iterable[bytes | memoryview]) -> None:
        """Write without waiting, past the window if need be: the caller bounds what it writes."""
        if self.state.closed is None:
            for piece in pieces:
                self.state.write(piece)
            self.flush_nowait()

    async def wait_send_all_might_not_block(self) -> None:
        """Wait until there is room in the window."""
        with self._sender:
            self._check_open(self._closed or self._eof_sent)
            await trio.lowlevel.checkpoint()
            await self._wait_room()

    async def _wait_room(self) -> None:
        while self.state.room <= 0 and self.state.closed is None:
            self._room = trio.Event()
            await self._room.wait()

    async def send_eof(self) -> None:
        """End this direction."""
        with self._sender:
            self._check_open(self._closed)
            await trio.lowlevel.checkpoint()
            self._eof_sent = True
            self.state.end()
            self.flush_nowait()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """The next bytes, b"" at the end. Raises trio.BrokenResourceError with the reason."""
        check_size(max_bytes)
        with self._reader:
            self._check_open(self._closed)
            return await self._receive(max_bytes)

    async def _receive(self, max_bytes: int | None) -> bytes:
        if self._received or self._at_end():
            await self._reading.checkpoint()
        while not self._received:
            if self._at_end():
                return b""
            self._arrived = trio.Event()
            await self._arrived.wait()
        data = self._received.popleft()
        if max_bytes is not None and len(data) > max_bytes:
            self._received.appendleft(data[max_bytes:])
            data = data[:max_bytes]
        self._reading.moved(len(data))
        self._consume(len(data), trio.current_time())
        return data

    def _consume(self, count: int, now: float) -> None:
        if self.state.consumed(count, now):
            self.flush_nowait()
        elif self._driver is not None:
            self._driver.wake_in_time()

    async def receive_into(
        self, receiver: Callable[[bytes], None], priority: TypingPriority
    ) -> None:
        """Call `receiver` with what arrives, from the reading task itself, until the end.

        `priority` says how large the blocks may be. Raises trio.BrokenResourceError.
        """
        while self._received:
            data = self._received.popleft()
            receiver(data)
            self._consume(len(data), trio.current_time())
        self._receiver, self._priority = receiver, priority
        try:
            while not self._at_end():
                self._arrived = trio.Event()
                await self._arrived.wait()
        finally:
            self._receiver = None

    async def aclose(self) -> None:
        """End both directions; what was written still reaches the peer, now or when it resumes."""
        self._closed = True
        self.reset(CLOSED, "closed")
        await trio.lowlevel.checkpoint()

    def reset(self, code: str, message: str) -> None:
        """End both directions with a reason that the peer is told."""
        if not self.state.complete:
            self.state.reset(code, message)
        self.flush_nowait()
        self._notify()

    def fail(self, code: str, message: str) -> None:
        """End both directions with a reason, without a transport to tell the peer on."""
        self.state.fail(code, message)
        self._notify()

    async def wait_over(self) -> None:
        """Wait until nothing remains to be exchanged with the peer."""
        while not self.state.over:
            self._over = trio.Event()
            await self._over.wait()

    def _check_open(self, closed: bool) -> None:
        if closed:
            raise trio.ClosedResourceError("send_eof or aclose was called")

    def _at_end(self) -> bool:
        if self._closed and self._receiver is None:
            raise trio.ClosedResourceError("this stream was closed")
        closed = self.state.closed
        if closed is not None and closed.code != CLOSED:
            raise trio.BrokenResourceError(closed.message)
        return closed is not None or self.state.inbox.ended_at is not None

    # The transport's side.

    @property
    def attached(self) -> bool:
        """Whether a transport carries the stream now."""
        return self._driver is not None

    async def run_transport(
        self,
        transport: trio.abc.HalfCloseableStream,
        peer_position: int,
        *,
        direct: bool = False,
    ) -> None:
        """Carry the stream over `transport`, which is closed at the end, from a peer's position.

        `direct`: it goes straight to the other end, see `StreamState.attach`.

        Returns when the stream is over or a newer transport has taken its place. Raises
        TransportLost, and ProtocolError("offset_gone") when it cannot go on from there.
        """
        if self._driver is not None:
            self._driver.leave()
        driver = TransportDriver(
            self.state, transport, self._deliver, self._notify, lambda: self._priority
        )
        try:
            self.state.attach(peer_position, trio.current_time(), direct=direct)
            self._driver = driver
            # The position that the peer reports is an acknowledgement: there may be room now.
            self._notify()
            await driver.run()
        finally:
            if self._driver is driver:
                self.state.detach()
                self._driver = None
            await trio.aclose_forcefully(transport)

    def _deliver(self, data: bytes, now: float) -> None:
        if self._receiver is not None:
            self._receiver(data)
            self._consume(len(data), now)
            return
        if self._received and len(self._received[-1]) + len(data) <= _JOINED_BYTES:
            self._received[-1] += data
        else:
            self._received.append(data)
        self._arrived.set()

    def _notify(self) -> None:
        """Wake whoever waits for what may have changed."""
        state = self.state
        if state.closed is not None or state.inbox.ended_at is not None:
            self._arrived.set()
        if state.room > 0 or state.closed is not None:
            self._room.set()
        if state.over:
            self._over.set()

    def flush_nowait(self) -> None:
        """Give the transport, if there is one, what is due."""
        if self._driver is not None:
            self._driver.flush_nowait()
