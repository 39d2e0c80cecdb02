"""Bandwidth limits for the streams that are copied in the coordinator."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import trio

from kled_coord.relay.splice.bandwidth import QUANTUM_BYTES, Bucket, Buckets, FairQueue, Share


class Pacer:
    """The buckets of this process. Whoever wakes first grants the quanta that are due."""

    def __init__(self) -> None:
        self._buckets = Buckets()
        self._fair_queue: FairQueue[PacedStream] = FairQueue()

    @contextmanager
    def paced(
        self,
        client: trio.abc.HalfCloseableStream,
        agent: trio.abc.HalfCloseableStream,
        shares: tuple[Share, ...],
    ) -> Iterator[tuple[trio.abc.HalfCloseableStream, trio.abc.HalfCloseableStream]]:
        """The two streams, whose reading keeps to `shares` inside the block."""
        if not shares:
            yield client, agent
            return
        now = trio.current_time()
        first, second = (
            PacedStream(self, stream, self._buckets.take(shares, to_agent=to_agent, now=now))
            for stream, to_agent in ((client, True), (agent, False))
        )
        try:
            yield first, second
        finally:
            for stream, to_agent in ((first, True), (second, False)):
                self._fair_queue.forget(stream)
                self._buckets.give_back(shares, to_agent=to_agent, now=trio.current_time())

    async def pay(self, stream: PacedStream, amount: int) -> None:
        """Return when so many bytes of `stream` may pass."""
        stream.owes = amount
        while stream.owes:
            self._fair_queue.wait(stream, stream.buckets, trio.current_time())
            self._give_turns()
            if stream.owes:
                # Others may be served when it comes; then there is a later one.
                await trio.sleep_until(self._fair_queue.when(stream))

    def _give_turns(self) -> None:
        now = trio.current_time()
        for stream in self._fair_queue.due(now):
            if amount := min(self._fair_queue.amount(stream, now), stream.owes):
                stream.owes -= amount
                self._fair_queue.end(stream, amount, now)


class PacedStream(trio.abc.HalfCloseableStream):
    """A stream whose bytes are given out only once they may pass."""

    def __init__(
        self, pacer: Pacer, stream: trio.abc.HalfCloseableStream, buckets: tuple[Bucket, ...]
    ) -> None:
        self.buckets = buckets
        self.owes = 0
        self._pacer = pacer
        self._stream = stream

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """As the stream's, a turn's worth at most."""
        data = await self._stream.receive_some(min(max_bytes or QUANTUM_BYTES, QUANTUM_BYTES))
        await self._pacer.pay(self, len(data))
        return bytes(data)

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await self._stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self._stream.wait_send_all_might_not_block()

    async def send_eof(self) -> None:
        await self._stream.send_eof()

    async def aclose(self) -> None:
        await self._stream.aclose()
