"""A resumable stream under Trio: a HalfCloseableStream over transports that come and go.

`run_transport` carries it over one transport; whoever owns the stream calls it again with the next
one. Where a transport is a plain socket with room, what is written goes out at once, without a
task switch, and the kernel's queue of unsent bytes is kept short (TCP_NOTSENT_LOWAT), so that a
keystroke does not wait behind a bulk copy.
"""

from __future__ import annotations

import math
import os
import socket
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from typing import Final

import trio

from kled_wire.errors import KledError, UnavailableError
from kled_wire.resume.machine import Machine
from kled_wire.transport.prefixed import PrefixedStream
from kled_wire.transport.vector import write_vector

READ_BYTES: Final = 256 * 1024
UNSENT_BYTES: Final = 128 * 1024
_WRITE_BYTES: Final = 256 * 1024
CLOSED: Final = "closed"


_Work = Callable[[trio.abc.HalfCloseableStream, trio.CancelScope], Awaitable[None]]


class TransportLost(Exception):  # noqa: N818 - a fact, not a fault
    """The transport has ended and the stream has not: give it another one."""


class ResumableStream(trio.abc.HalfCloseableStream):
    """One end of a resumable stream. Made detached; `machine` decides, this moves bytes."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self._received: deque[bytes] = deque()
        self._arrived = trio.Event()
        self._room = trio.Event()
        self._wake = trio.Event()
        self._over = trio.Event()
        self._receiver: Callable[[bytes], None] | None = None
        self._scope: trio.CancelScope | None = None
        self._bare: trio.SocketStream | None = None
        self._unsent: list[bytes | memoryview] = []
        # When the writer wakes by itself; infinite while it is awake.
        self._sleeping_until = math.inf

    # The application's side.

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Write, waiting while the window is full. Raises trio.BrokenResourceError."""
        # Kept by reference, so it must not change any more: only what could is copied.
        view = memoryview(data if isinstance(data, bytes) else bytes(data))
        await trio.lowlevel.checkpoint()
        for start in range(0, len(view), _WRITE_BYTES):
            while self.machine.room <= 0 and self.machine.closed is None:
                self._room = trio.Event()
                await self._room.wait()
            self._check_writable()
            self.machine.write(view[start : start + _WRITE_BYTES])
            self.flush_nowait()

    def write_nowait(self, pieces: Iterable[bytes | memoryview]) -> None:
        """Write without waiting, past the window if need be: the caller bounds what it writes."""
        if self.machine.closed is None:
            for piece in pieces:
                self.machine.write(piece)
            self.flush_nowait()

    async def wait_send_all_might_not_block(self) -> None:
        """Wait until there is room in the window."""
        await trio.lowlevel.checkpoint()
        while self.machine.room <= 0 and self.machine.closed is None:
            self._room = trio.Event()
            await self._room.wait()

    async def send_eof(self) -> None:
        """End this direction."""
        await trio.lowlevel.checkpoint()
        self.machine.end()
        self.flush_nowait()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """The next bytes, b"" at the end. Raises trio.BrokenResourceError with the reason."""
        await trio.lowlevel.checkpoint()
        while not self._received:
            if self._at_end():
                return b""
            self._arrived = trio.Event()
            await self._arrived.wait()
        data = self._received.popleft()
        if max_bytes is not None and len(data) > max_bytes:
            self._received.appendleft(data[max_bytes:])
            data = data[:max_bytes]
        self._consume(len(data))
        return data

    def _consume(self, count: int) -> None:
        self.machine.consumed(count, trio.current_time())
        self.flush_nowait()

    async def receive_into(self, receiver: Callable[[bytes], None]) -> None:
        """Call `receiver` with what arrives, from the reading task itself, until the end.

        Raises trio.BrokenResourceError with the reason.
        """
        while self._received:
            data = self._received.popleft()
            receiver(data)
            self._consume(len(data))
        self._receiver = receiver
        try:
            while not self._at_end():
                self._arrived = trio.Event()
                await self._arrived.wait()
        finally:
            self._receiver = None

    async def aclose(self) -> None:
        """End both directions; what was written still reaches the peer, now or when it resumes."""
        self.reset(CLOSED, "closed")
        await trio.lowlevel.checkpoint()

    def reset(self, code: str, message: str) -> None:
        """End both directions with a reason that the peer is told."""
        if not self.machine.complete:
            self.machine.reset(code, message)
        self.flush_nowait()
        self._notify()

    def fail(self, code: str, message: str) -> None:
        """End both directions with a reason, without a transport to tell the peer on."""
        self.machine.fail(code, message)
        self._notify()

    async def wait_over(self) -> None:
        """Wait until nothing remains to be exchanged with the peer."""
        while not self.machine.over:
            self._over = trio.Event()
            await self._over.wait()

    def _check_writable(self) -> None:
        if self.machine.closed is not None:
            raise trio.BrokenResourceError(self.machine.closed.message)

    def _at_end(self) -> bool:
        closed = self.machine.closed
        if closed is not None and closed.code != CLOSED:
            raise trio.BrokenResourceError(closed.message)
        return closed is not None or self.machine.inbox.ended_at is not None

    # The transport's side.

    @property
    def attached(self) -> bool:
        """Whether a transport carries the stream now."""
        return self._scope is not None

    async def run_transport(
        self,
        transport: trio.abc.HalfCloseableStream,
        peer_position: int,
        *,
        direct: bool = False,
    ) -> None:
        """Carry the stream over `transport`, which is closed at the end, from a peer's position.

        `direct`: it goes straight to the other end, see `Machine.attach`.

        Returns when the stream is over or a newer transport has taken its place. Raises
        TransportLost, and ProtocolError("offset_gone") when it cannot go on from there.
        """
        if self._scope is not None:
            self._scope.cancel()
        scope = trio.CancelScope()
        try:
            self.machine.attach(peer_position, trio.current_time(), direct=direct)
            self._scope = scope
            self._bare = bare_socket(transport)
            self._unsent = []
            self._sleeping_until = math.inf
            # What the peer has says as much as an acknowledgement: there may be room now.
            self._notify()
            with scope:
                await self._carry(transport, scope)
        finally:
            if self._scope is scope:
                self.machine.detach()
                self._scope = None
                self._bare = None
                self._unsent = []
            await trio.aclose_forcefully(transport)

    async def _carry(
        self, transport: trio.abc.HalfCloseableStream, scope: trio.CancelScope
    ) -> None:
        lost: str | None = None
        async with trio.open_nursery() as nursery:

            async def run(work: _Work) -> None:
                nonlocal lost
                try:
                    await work(transport, scope)
                except (trio.BrokenResourceError, trio.ClosedResourceError, OSError) as exc:
                    lost = str(exc) or type(exc).__name__
                except KledError as exc:
                    lost = exc.message
                nursery.cancel_scope.cancel()

            nursery.start_soon(run, self._write)
            nursery.start_soon(run, self._watch_silence)
            nursery.start_soon(run, self._read)
        if self._scope is scope and not self.machine.over:
            raise TransportLost(lost or "the transport ended")

    async def _watch_silence(
        self, _transport: trio.abc.HalfCloseableStream, _scope: trio.CancelScope
    ) -> None:
        """Give up a transport that says nothing, also where the writer is stuck in it."""
        while (dead_at := self.machine.dead_at) > trio.current_time():  # noqa: ASYNC110 - a deadline that moves
            await trio.sleep_until(dead_at)
        raise UnavailableError("transport_silent", "the transport is silent")

    async def _read(self, transport: trio.abc.HalfCloseableStream, scope: trio.CancelScope) -> None:
        receive = receiver_of(transport)
        while data := await receive():
            if self._scope is not scope:
                return  # replaced while this was on its way: the newer one gets it again
            for fresh in self.machine.receive(data, trio.current_time()):
                self._deliver(bytes(fresh))
            self._notify()
            self.flush_nowait()
            if self.machine.over:
                return

    def _deliver(self, data: bytes) -> None:
        if self._receiver is not None:
            self._receiver(data)
            self.machine.consumed(len(data), trio.current_time())
        else:
            self._received.append(data)

    def _notify(self) -> None:
        """Wake whoever waits for what may have changed."""
        machine = self.machine
        if self._received or machine.closed is not None or machine.inbox.ended_at is not None:
            self._arrived.set()
        if machine.room > 0 or machine.closed is not None:
            self._room.set()
        if machine.over:
            self._over.set()

    def flush_nowait(self) -> None:
        """Give the transport what is due, as far as it takes it at once; the writer does more."""
        if self._bare is not None and not self._unsent:
            now = trio.current_time()
            if pieces := self.machine.pieces(now):
                self._send_pieces(self._bare, pieces)
            # Mostly that was all, and the writer may sleep on: no task switch for a keystroke.
            if not self._unsent and self.machine.wake_at(now) >= self._sleeping_until:
                return
        self._wake.set()

    def _send_pieces(self, bare: trio.SocketStream, pieces: list[bytes | memoryview]) -> None:
        try:
            self._unsent = write_vector(bare.socket.fileno(), pieces)
        except OSError:
            # The reader learns it as well; what was lost is replayed.
            self._unsent = []
            if self._scope is not None:
                self._scope.cancel()

    async def _write(
        self, transport: trio.abc.HalfCloseableStream, scope: trio.CancelScope
    ) -> None:
        """Write what is due; between times look after acks that wait and a silent transport."""
        machine, bare = self.machine, self._bare
        while self._scope is scope and not machine.over:
            now = trio.current_time()
            if not machine.tick(now):
                raise UnavailableError("transport_silent", "the transport is silent")
            if bare is not None and (self._unsent or machine.due(now)):
                _check_open(bare)
                await trio.lowlevel.wait_writable(bare.socket)
                if self._scope is scope:
                    self._write_some(bare)
            elif bare is None and (pieces := machine.pieces(now)):
                await transport.send_all(b"".join(pieces))
            else:
                self._wake = trio.Event()
                self._sleeping_until = machine.wake_at(now)
                with trio.move_on_at(self._sleeping_until):
                    await self._wake.wait()
                self._sleeping_until = math.inf
        self._notify()

    def _write_some(self, bare: trio.SocketStream) -> None:
        unsent, self._unsent = self._unsent, []
        pieces = unsent or self.machine.pieces(trio.current_time())
        if pieces:
            self._send_pieces(bare, pieces)


def bare_socket(stream: trio.abc.HalfCloseableStream) -> trio.SocketStream | None:
    """The plain socket that carries `stream`, its queue of unsent bytes kept short; or None."""
    if isinstance(stream, PrefixedStream):
        stream = stream.transport_stream
    if not isinstance(stream, trio.SocketStream):
        return None
    if hasattr(socket, "TCP_NOTSENT_LOWAT"):
        try:
            stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_BYTES)
        except OSError:
            return stream  # not TCP: a Unix socket in a test
    return stream


def _check_open(bare: trio.SocketStream) -> None:
    """Raise trio.ClosedResourceError for a socket that was closed between two waits."""
    if bare.socket.fileno() < 0:
        raise trio.ClosedResourceError("the transport was closed")


def receiver_of(stream: trio.abc.HalfCloseableStream) -> Callable[[], Awaitable[bytes]]:
    """How to read `stream`: a bare socket without asking it in vain first."""
    bare = bare_socket(stream)
    ahead = stream.take_prefix() if bare is not None and isinstance(stream, PrefixedStream) else b""

    async def receive_bare() -> bytes:
        nonlocal ahead
        assert bare is not None
        if ahead:
            data, ahead = ahead, b""
            return data
        while True:
            _check_open(bare)
            await trio.lowlevel.wait_readable(bare.socket)
            try:
                return os.read(bare.socket.fileno(), READ_BYTES)
            except BlockingIOError:
                continue

    async def receive_some() -> bytes:
        return bytes(await stream.receive_some(READ_BYTES))

    return receive_some if bare is None else receive_bare
