"""The session's connection to one endpoint."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from contextlib import suppress
from itertools import count
from typing import Protocol

import trio
from trio.abc import ReceiveStream, SendStream

from kled_sync.wire import messages
from kled_sync.wire.blocks import (
    CONTROL,
    MAGIC,
    Assembler,
    BlockReader,
    Packer,
    WireBlock,
    pack_message,
)
from kled_sync.wire.codec import decode_message, encode_message
from kled_wire.errors import KledError, UnavailableError, from_status
from kled_wire.limits import CLEANUP_S


class ByteStream(Protocol):
    """What an endpoint is reached by: a process's pipes, or an SSH channel."""

    async def receive_into(self, space: memoryview) -> int:
        """How many bytes came, at the beginning of `space`; none at the end."""

    async def send_all(self, data: bytes | memoryview) -> None:
        """Waits while the other side reads no more."""


class PipeStream:
    """A process's standard input and output, or a pair of pipes."""

    def __init__(self, pipes: trio.StapledStream[SendStream, ReceiveStream]) -> None:
        assert isinstance(pipes.receive_stream, trio.lowlevel.FdStream)
        self._pipes, self._reader = pipes, pipes.receive_stream

    async def receive_into(self, space: memoryview) -> int:
        """As ByteStream has it; trio's own allocates for each read. Raises trio's errors."""
        reader = self._reader.fileno()
        while True:
            await trio.lowlevel.wait_readable(reader)
            with suppress(BlockingIOError):
                return os.readv(reader, [space])

    async def send_all(self, data: bytes | memoryview) -> None:
        """Raises trio's errors."""
        await self._pipes.send_all(data)


class PeerListener(Protocol):
    """Receives what an endpoint sends without being asked."""

    def took(self, message: messages.Message) -> None:
        """A listing, a hint, or what became of a job."""


class Peer:
    """Requests and answers, and the blocks that go to the other endpoint. `name` is for people."""

    def __init__(self, name: str, stream: ByteStream) -> None:
        self.name = name
        self._stream = stream
        self._packer = Packer()
        self._lock = trio.StrictFIFOLock()
        self._requests = count(1)
        self._pending: dict[int, tuple[trio.Event, list[messages.Message]]] = {}
        self._broken: KledError | None = None
        self._ended = trio.Event()
        self.listener: PeerListener | None = None
        self.forward: Callable[[WireBlock], Awaitable[None]] | None = None
        self.sent_bytes = self.received_bytes = 0

    async def run(self) -> None:
        """Read until the endpoint ends. Raises UnavailableError("sync_connection_lost"), and what
        the endpoint refused altogether; every request that waits then raises it too.
        """
        try:
            await self._read()
            raise UnavailableError(
                "sync_connection_lost", f"the {self.name} side of the sync ended"
            )
        except (trio.BrokenResourceError, trio.ClosedResourceError) as exc:
            self._break(UnavailableError("sync_connection_lost", f"the {self.name} side is gone"))
            assert self._broken is not None
            raise self._broken from exc
        except KledError as exc:
            self._break(exc)
            raise

    def _break(self, error: KledError) -> None:
        self._broken = error
        self._ended.set()
        for event, _ in self._pending.values():
            event.set()

    async def _read(self) -> None:
        blocks, assembler = BlockReader(), Assembler()
        while size := await self._stream.receive_into(blocks.space()):
            self.received_bytes += size
            for block in blocks.took(size):
                if block.channel == CONTROL:
                    message = assembler.add(block)
                    if message is not None:
                        self._take(decode_message(message))
                elif self.forward is not None:
                    await self.forward(block)

    def _take(self, message: messages.Message) -> None:
        number = getattr(message, "request", 0)
        if isinstance(message, messages.RequestRefused) and not number:
            raise _error(message)
        waiting = self._pending.get(number)
        if waiting is not None:
            waiting[1].append(message)
            waiting[0].set()
        elif self.listener is not None:
            self.listener.took(message)

    async def ask(self, make: Callable[[int], messages.Message]) -> messages.Message:
        """The answer to the request that `make` makes with a number. Raises KledError."""
        number = next(self._requests)
        event, answers = trio.Event(), list[messages.Message]()
        self._pending[number] = event, answers
        try:
            await self.send(make(number))
            await event.wait()
        finally:
            del self._pending[number]
        if not answers:
            assert self._broken is not None
            raise self._broken
        if isinstance(answers[0], messages.RequestRefused):
            raise _error(answers[0])
        return answers[0]

    async def send(self, message: messages.Message) -> None:
        """Raises KledError where the endpoint is gone."""
        await self._write(pack_message(self._packer, encode_message(message)))

    async def send_block(self, block: WireBlock) -> None:
        """Raises KledError where the endpoint is gone."""
        await self._write(block.encoded())

    async def _write(self, data: bytes | memoryview) -> None:
        if self._broken is not None:
            raise self._broken
        try:
            async with self._lock:
                if not self.sent_bytes:
                    data = MAGIC + data
                self.sent_bytes += len(data)
                await self._stream.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError) as exc:
            # What it said last is worth more than that it ended: reading comes to it.
            with trio.move_on_after(CLEANUP_S):
                await self._ended.wait()
            raise self._broken or UnavailableError(
                "sync_connection_lost", f"the {self.name} side is gone"
            ) from exc


def _error(refused: messages.RequestRefused) -> KledError:
    return from_status(refused.status, refused.code, refused.message, refused.hint or None)
