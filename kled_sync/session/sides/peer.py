"""The session's connection to one endpoint."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import Final, Protocol, TypeVar

import trio

from kled_sync.session.sides.streams import ByteStream, Passage, open_passage
from kled_sync.wire import messages
from kled_sync.wire.blocks import (
    CONTROL,
    MAGIC,
    Assembler,
    BegunBlock,
    BlockReader,
    Packer,
    WireBlock,
    pack_message,
)
from kled_sync.wire.codec import decode_message, encode_message
from kled_wire.errors import KledError, ProtocolError, UnavailableError, from_status
from kled_wire.limits import CLEANUP_S

# A process that is stopped says nothing at all: one that works on for long says so every 5 s.
_SILENT_MAX_S: Final = 120.0
# One that is to come up: longer than sshd(8) waits for a password (LoginGraceTime).
_GREETED_MAX_S: Final = 300.0
# One whose disk hangs says that it has stood still for so long. What a slow disk has to write
# before a job is durable (syncfs) is one call, and takes minutes.
_STILL_MAX_S: Final = 600
_LOOK_S: Final = 5.0
_Answer = TypeVar("_Answer", bound=messages.Message)


class PeerListener(Protocol):
    """Receives what an endpoint sends without being asked."""

    @property
    def is_awaited(self) -> bool:
        """Whether it awaits such."""

    def took(self, message: messages.Message) -> None:
        """A listing, a hint, or what became of a job."""


class Peer:
    """Requests and answers, and the blocks that go to the other endpoint. `name` is for people."""

    def __init__(
        self, name: str, stream: ByteStream, is_reached: Callable[[], bool] = lambda: True
    ) -> None:
        """`is_reached` says whether there is a way to the machine of the endpoint now."""
        self.name = name
        self.stream = stream
        self._packer = Packer()
        self._lock = trio.StrictFIFOLock()
        self._requests = count(1)
        self._pending: dict[int, tuple[trio.Event, list[messages.Message]]] = {}
        self._broken: KledError | None = None
        self._ended = trio.Event()
        self.listener: PeerListener | None = None
        # The peer that gets blocks of content, and the passage to it, where there is one.
        self._target: Peer | None = None
        self._passage: Passage | None = None
        self._passed: Callable[[WireBlock], None] = lambda _: None
        self.sent_bytes = self.received_bytes = 0
        # When it was last heard of, or was asked while nothing else was awaited of it.
        self._heard_at = 0.0
        # Whether it says that it lives; for how long it has said nothing, and has stood still.
        self._tells_alive = self._is_reading = False
        self._silent_s = self._still_s = 0.0
        self._is_reached = is_reached
        self.hangs = False

    def pass_on(self, target: Peer, passed: Callable[[WireBlock], None]) -> None:
        """Pass blocks of content on to `target` from now on, and call `passed` with each."""
        self._target, self._passed = target, passed
        self._passage = open_passage(self.stream, target.stream)

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
        while size := await self._receive(blocks):
            self._heard_at = trio.current_time()
            self._silent_s = self._still_s = 0.0
            self.received_bytes += size
            for block in blocks.took(size):
                if block.channel == CONTROL:
                    message = assembler.add(block)
                    if message is not None:
                        self._take(decode_message(message))
                elif self._target is not None:
                    await self._target.send_block(block)
                    self._passed(block)
            await self._pass_begun(blocks)

    async def _receive(self, blocks: BlockReader) -> int:
        self._is_reading = True
        try:
            return await self.stream.receive_into(blocks.space(uncopied=self._passage is not None))
        finally:
            self._is_reading = False

    async def _pass_begun(self, blocks: BlockReader) -> None:
        """Pass on the block that is here in part, if the rest of it need not be waited for."""
        begun, passage, target = blocks.begun(), self._passage, self._target
        if begun is None or passage is None or target is None or not passage.has(begun.missing):
            return
        self.received_bytes += begun.missing
        await target.send_begun(begun, passage)
        self._passed(begun.block)
        blocks.passed()

    def _take(self, message: messages.Message) -> None:
        number = getattr(message, "request", 0)
        if isinstance(message, messages.RequestRefused) and not number:
            raise _error(message)
        if isinstance(message, messages.Alive):
            self._tells_alive, self._still_s = True, float(message.still_s)
            return
        waiting = self._pending.get(number)
        if waiting is not None:
            waiting[1].append(message)
            waiting[0].set()
        elif self.listener is not None:
            self.listener.took(message)

    def silent_s(self) -> float:
        """For how many seconds nothing has come from it while an answer is awaited, or it has
        stood still; 0 otherwise.
        """
        unheard_s = trio.current_time() - self._heard_at if self._pending else 0.0
        return max(unheard_s, self._silent_s, self._still_s)

    async def watch(self) -> None:
        """Raise UnavailableError("sync_side_hangs") when the endpoint hangs; an older one never
        does once it is up. Time in which this process was stopped itself, or could not read, does
        not count.
        """
        while True:
            heard = self.received_bytes
            silent_max_s = _SILENT_MAX_S if heard else _GREETED_MAX_S
            if self._silent_s >= silent_max_s or self._still_s >= _STILL_MAX_S:
                break
            await trio.sleep(_LOOK_S)
            may_hang = self._tells_alive or not heard
            waits = may_hang and self._is_reading and self._is_awaited()
            if waits and heard == self.received_bytes and self._is_reached():
                self._silent_s += _LOOK_S
            else:
                self._silent_s = 0.0
        self.hangs, found_s = True, max(self._silent_s, self._still_s)
        raise UnavailableError(
            "sync_side_hangs",
            f"the {self.name} side of the sync has not got on for {found_s:.0f} s",
            hint="its process is stopped, or its disk or network filesystem hangs; "
            "then try again: a sync continues where it ended",
        )

    def _is_awaited(self) -> bool:
        return bool(self._pending) or (self.listener is not None and self.listener.is_awaited)

    async def ask(self, make: Callable[[int], messages.Message], kind: type[_Answer]) -> _Answer:
        """The answer, of the type `kind`, to the request that `make` makes with a number.

        Raises KledError; ProtocolError("sync_message_refused") where it is of another type.
        """
        if not self._pending:
            self._heard_at = trio.current_time()
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
        if not isinstance(answers[0], kind):
            what = f"{type(answers[0]).__name__} in place of {kind.__name__}"
            raise ProtocolError("sync_message_refused", f"the {self.name} side answered {what}")
        return answers[0]

    async def send(self, message: messages.Message) -> None:
        """Raises KledError where the endpoint is gone."""
        await self._write(pack_message(self._packer, encode_message(message)))

    async def send_block(self, block: WireBlock) -> None:
        """Raises KledError where the endpoint is gone."""
        await self._write(block.encoded())

    async def send_begun(self, begun: BegunBlock, passage: Passage) -> None:
        """A block of which the rest comes through `passage`. Raises KledError."""
        await self._write(begun.came, passage, begun.missing)

    async def _write(
        self, data: bytes | memoryview, passage: Passage | None = None, rest: int = 0
    ) -> None:
        if self._broken is not None:
            raise self._broken
        try:
            await self._take_turn()
            try:
                if not self.sent_bytes:
                    data = MAGIC + data
                self.sent_bytes += len(data) + rest
                await self.stream.send_all(data)
                if passage is not None:
                    await passage.move(rest)
            finally:
                self._lock.release()
        except (trio.BrokenResourceError, trio.ClosedResourceError) as exc:
            # The last message of the peer is worth more than the fact that it ended: reading comes
            # to it.
            with trio.move_on_after(CLEANUP_S):
                await self._ended.wait()
            raise self._broken or UnavailableError(
                "sync_connection_lost", f"the {self.name} side is gone"
            ) from exc

    async def _take_turn(self) -> None:
        """Acquire the lock; no checkpoint where it is free, as reading has one for each block."""
        try:
            self._lock.acquire_nowait()
        except trio.WouldBlock:
            await self._lock.acquire()


def _error(refused: messages.RequestRefused) -> KledError:
    return from_status(refused.status, refused.code, refused.message, refused.hint or None)
