"""Copy between two streams in both directions, carrying each half-close through."""

from __future__ import annotations

from collections.abc import Callable

import trio

from kled_wire import limits


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

    `count_right` is told the bytes that went left to right, `count_left` the others. Raises
    trio.BrokenResourceError when a stream broke.
    """
    broken: Exception | None = None
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(copy, left, right, count_right)
            nursery.start_soon(copy, right, left, count_left)
    except* (trio.BrokenResourceError, trio.ClosedResourceError) as group:
        broken = group.exceptions[0]
    if broken is not None:
        raise trio.BrokenResourceError("a stream broke") from broken


async def copy(
    source: trio.abc.ReceiveStream,
    sink: trio.abc.HalfCloseableStream,
    count: Callable[[int], None] = ignore_count,
) -> None:
    """Copy one direction to its end, then pass the end on."""
    while data := await source.receive_some(limits.COPY_CHUNK_BYTES):
        await sink.send_all(data)
        count(len(data))
    await sink.send_eof()
