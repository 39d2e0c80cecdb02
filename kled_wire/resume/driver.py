"""One transport under a resumable stream: what is due goes out, what comes is handed on.

Where the transport is a plain socket with room, what is written goes out at once, without a task
switch, and the kernel's queue of unsent bytes is kept short (TCP_NOTSENT_LOWAT), so that a
keystroke does not wait behind a bulk copy.
"""

from __future__ import annotations

import math
import os
import socket
from collections.abc import Awaitable, Callable
from typing import Final

import trio

from kled_wire.errors import KledError, UnavailableError
from kled_wire.resume.frames import READ_BYTES
from kled_wire.resume.state import UNSENT_BYTES, StreamState
from kled_wire.scheduling import TypingPriority
from kled_wire.transport.blocks import keep_blocks
from kled_wire.transport.prefixed import PrefixedStream
from kled_wire.transport.vector import write_vector

# How many batches are written before other tasks run.
_WRITE_TURN_BATCHES: Final = 4


class TransportLost(Exception):  # noqa: N818 - a fact, not a fault
    """The transport has ended and the stream has not: give it another one."""


class TransportDriver:
    """Carries a stream, which `state` is, over one transport. `run` once.

    `deliver` gets what is new and the time, `notify` is called when anything may have changed,
    `priority` says how large the blocks may be.
    """

    def __init__(
        self,
        state: StreamState,
        transport: trio.abc.HalfCloseableStream,
        deliver: Callable[[bytes, float], None],
        notify: Callable[[], None],
        priority: Callable[[], TypingPriority],
    ) -> None:
        self._state = state
        self._transport = transport
        self._bare = _bare_socket(transport)
        self._deliver = deliver
        self._notify = notify
        self._priority = priority
        self._scope = trio.CancelScope()
        # A newer transport has taken over: what still comes here, it gets again.
        self._left = False
        self._wake = trio.Event()
        self._unsent: list[bytes | memoryview] = []
        # When the writer wakes by itself; infinite while it is awake.
        self._sleeping_until = math.inf

    def leave(self) -> None:
        """Carry nothing from now on; `run` returns."""
        self._left = True
        self._scope.cancel()

    async def run(self) -> None:
        """Carry until the stream is over or this was left. Raises TransportLost."""
        keep_blocks()
        lost: str | None = None
        with self._scope:
            async with trio.open_nursery() as nursery:

                async def run(work: Callable[[], Awaitable[None]]) -> None:
                    nonlocal lost
                    try:
                        await work()
                    except (trio.BrokenResourceError, trio.ClosedResourceError, OSError) as exc:
                        lost = str(exc) or type(exc).__name__
                    except KledError as exc:
                        lost = exc.message
                    nursery.cancel_scope.cancel()

                nursery.start_soon(run, self._write)
                nursery.start_soon(run, self._watch_silence)
                nursery.start_soon(run, self._read)
        if not self._left and not self._state.over:
            raise TransportLost(lost or "the transport ended")

    async def _watch_silence(self) -> None:
        """Give up a transport that says nothing, also where the writer is stuck in it."""
        while (dead_at := self._state.dead_at) > trio.current_time():  # noqa: ASYNC110 - a deadline that moves
            await trio.sleep_until(dead_at)
        raise UnavailableError("transport_silent", "the transport is silent")

    # Receiving.

    async def _read(self) -> None:
        if self._bare is None:
            await self._read_stream()
        else:
            await self._read_bare(self._bare)
        if self._state.over:
            # The writer ends it all, once the last of ours is out.
            self._wake.set()
            await trio.sleep_forever()

    async def _read_stream(self) -> None:
        while not self._state.over:
            data = await self._transport.receive_some(READ_BYTES)
            if not data or self._left:
                return
            self._take(bytes(data), trio.current_time())

    async def _read_bare(self, bare: trio.SocketStream) -> None:
        """Read a plain socket, in blocks as large as `priority` lets them be."""
        # Left before it began: the state is on another transport by now.
        if isinstance(self._transport, PrefixedStream) and not self._left:
            self._take(self._transport.take_prefix(), trio.current_time())
        while not self._state.over:
            _check_open(bare)
            await trio.lowlevel.wait_readable(bare.socket)
            if self._left:
                return
            try:
                data = os.read(bare.socket.fileno(), self._priority().block_bytes())
            except BlockingIOError:
                continue
            if not data:
                return
            self._take(data, trio.current_time())
            await self._priority().after_block(len(data))

    def _take(self, data: bytes, now: float) -> None:
        """Bytes of the transport have come."""
        state = self._state
        if fresh := state.receive(data, now):
            self._deliver(b"".join(fresh), now)
        self._notify()
        if state.due(now):
            self.flush_nowait()
        else:
            self.wake_in_time()

    # Sending.

    def flush_nowait(self) -> None:
        """Give the transport what is due, as far as it takes it at once; the writer does more."""
        if self._bare is not None and not self._unsent and not self._left:
            if pieces := self._state.pieces(trio.current_time()):
                self._send_pieces(self._bare, pieces)
            # Mostly that was all, and the writer may sleep on: no task switch for a keystroke.
            if not self._unsent:
                self.wake_in_time()
                return
        self._wake.set()

    def wake_in_time(self) -> None:
        """Wake the writer if an ack is due before it wakes by itself."""
        if self._state.inbox.ack_at < self._sleeping_until:
            self._wake.set()

    def _send_pieces(self, bare: trio.SocketStream, pieces: list[bytes | memoryview]) -> None:
        try:
            self._unsent = write_vector(bare.socket.fileno(), pieces)
        except OSError:
            # The reader learns it as well; what was lost is replayed.
            self._unsent = []
            self._scope.cancel()

    async def _write(self) -> None:
        """Write what is due; between times look after acks that wait and a silent transport."""
        state, bare = self._state, self._bare
        while not self._left and (self._unsent or not state.over):
            now = trio.current_time()
            state.tick(now)
            if bare is not None and (self._unsent or state.due(now)):
                _check_open(bare)
                await trio.lowlevel.wait_writable(bare.socket)
                if not self._left:
                    self._write_turn(bare)
            elif bare is None and (pieces := state.pieces(now)):
                await self._transport.send_all(b"".join(pieces))
            else:
                self._wake = trio.Event()
                self._sleeping_until = state.wake_at(now)
                with trio.move_on_at(self._sleeping_until):
                    await self._wake.wait()
                self._sleeping_until = math.inf
        self._notify()

    def _write_turn(self, bare: trio.SocketStream) -> None:
        """Write until the socket takes no more, for a turn."""
        for _ in range(_WRITE_TURN_BATCHES):
            unsent, self._unsent = self._unsent, []
            pieces = unsent or self._state.pieces(trio.current_time())
            if not pieces:
                return
            self._send_pieces(bare, pieces)
            if self._unsent or self._scope.cancel_called:
                return


def _bare_socket(stream: trio.abc.HalfCloseableStream) -> trio.SocketStream | None:
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
