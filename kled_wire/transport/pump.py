"""Copy between two streams in both directions, carrying each half-close through."""

from __future__ import annotations

import abc
from collections.abc import Callable

import trio

from kled_wire import limits


class RefusableStream(trio.abc.HalfCloseableStream):
    """A stream that is told when its peer takes no more, also while nothing is sent."""

    @abc.abstractmethod
    async def wait_refused(self) -> None:
        """Wait until nothing that is sent arrives any more. What came in may still be read."""


def ignore_count(count: int) -> None:
    """A counter for callers that do not count."""


async def pump(
    left: trio.abc.HalfCloseableStream,
    right: trio.abc.HalfCloseableStream,
    *,
    count_right: Callable[[int], None] = ignore_count,
    count_left: Callable[[int], None] = ignore_count,
) -> None:
    """Copy until both directions have ended or one broke. Neither stream is closed.

    A side that takes no more may still have something to say: that arrives whole, and what the
    other says meanwhile is read and dropped, so that it does not wait for ever.
    `count_right` is told the bytes that went left to right, `count_left` the others. Raises
    trio.BrokenResourceError when a stream broke.
    """
    broken: Exception | None = None
    try:
        async with trio.open_nursery() as nursery:
            directions = _Directions(nursery)
            nursery.start_soon(directions.carry, left, right, count_right)
            nursery.start_soon(directions.carry, right, left, count_left)
    except* (trio.BrokenResourceError, trio.ClosedResourceError) as group:
        broken = group.exceptions[0]
    if broken is not None:
        raise trio.BrokenResourceError("a stream broke") from broken
    if directions.refused:
        raise trio.BrokenResourceError("a stream takes no more")


class _Directions:
    """Both directions of one pump: the end of the second ends what the first still drops."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self._nursery = nursery
        self._going = 2
        self.refused = False

    async def carry(
        self,
        source: trio.abc.HalfCloseableStream,
        sink: trio.abc.HalfCloseableStream,
        count: Callable[[int], None],
    ) -> None:
        """One direction. Raises what `source` raises."""
        taken = False  # and so it stays where the sink refuses while nothing is sent
        with trio.CancelScope() as taking:
            if isinstance(sink, RefusableStream):
                self._nursery.start_soon(_cancel_when_refused, sink, taking)
            taken = await _copy(source, sink, count)
        self._going -= 1
        if not taken:
            self.refused = True
            if self._going:
                await _drop(source)
        if not self._going:
            self._nursery.cancel_scope.cancel()


async def _cancel_when_refused(sink: RefusableStream, scope: trio.CancelScope) -> None:
    await sink.wait_refused()
    scope.cancel()


async def _copy(
    source: trio.abc.ReceiveStream,
    sink: trio.abc.HalfCloseableStream,
    count: Callable[[int], None],
) -> bool:
    """Copy to the end of `source`, then pass the end on; False when `sink` takes no more."""
    while data := await source.receive_some(limits.COPY_CHUNK_BYTES):
        try:
            await sink.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return False
        count(len(data))
    try:
        await sink.send_eof()
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        return False
    return True


async def _drop(source: trio.abc.ReceiveStream) -> None:
    while await source.receive_some(limits.COPY_CHUNK_BYTES):
        pass
