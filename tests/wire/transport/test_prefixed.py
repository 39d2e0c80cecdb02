"""Bytes that were read too early are given out first."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from kled_wire.transport.prefixed import PrefixedStream
from tests.wire import sockets


async def _pair() -> tuple[PrefixedStream, trio.abc.HalfCloseableStream]:
    near, far = trio.testing.memory_stream_pair()
    return PrefixedStream(b"", near), far


async def _sockets() -> tuple[PrefixedStream, PrefixedStream]:
    near, far = sockets.pair()
    return PrefixedStream(b"", near), PrefixedStream(b"", far)


async def _clogged() -> tuple[PrefixedStream, PrefixedStream]:
    near, far = sockets.clogged()
    return PrefixedStream(b"", near), PrefixedStream(b"", far)


async def test_it_is_a_half_closeable_stream() -> None:
    await trio.testing.check_half_closeable_stream(_sockets, _clogged)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 100, None])
async def test_the_prefix_comes_first_in_reads_of_any_size(size: int | None) -> None:
    near, far = trio.testing.memory_stream_pair()
    stream = PrefixedStream(b"prefix", near)
    await far.send_all(b" and the rest")
    await far.send_eof()
    got = b""
    while data := await stream.receive_some(size):
        assert size is None or len(data) <= size
        got += data
    assert got == b"prefix and the rest"


async def test_a_read_of_the_prefix_does_not_wait_for_more() -> None:
    near, _far = trio.testing.memory_stream_pair()
    with trio.testing.assert_checkpoints():
        assert await PrefixedStream(b"ab", near).receive_some() == b"ab"


async def test_a_cancelled_read_loses_nothing() -> None:
    near, _far = trio.testing.memory_stream_pair()
    stream = PrefixedStream(b"ab", near)
    with trio.CancelScope() as scope:
        scope.cancel()
        await stream.receive_some()
    assert stream.take_prefix() == b"ab"
    assert stream.take_prefix() == b""


async def test_sending_goes_straight_through() -> None:
    stream, far = await _pair()
    await stream.send_all(b"x")
    await stream.send_eof()
    assert [await far.receive_some(), await far.receive_some()] == [b"x", b""]
