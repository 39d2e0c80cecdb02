"""Reading one head from a stream: all of it, no more than it, within the limit."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from kled_wire import limits
from kled_wire.errors import ProtocolError, UnavailableError
from kled_wire.http.headio import read_body, read_head

HEAD = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"


def _source(*pieces: bytes, end: bool = True) -> trio.testing.MemoryReceiveStream:
    """A stream that gives out each piece in a read of its own."""
    waiting = list(pieces)
    source = trio.testing.MemoryReceiveStream()

    async def refill() -> None:
        await trio.lowlevel.checkpoint()
        if waiting:
            source.put_data(waiting.pop(0))
        elif end:
            source.put_eof()

    source.receive_some_hook = refill
    return source


@pytest.mark.parametrize("cut", range(1, len(HEAD)))
async def test_a_head_split_at_any_byte_is_read(cut: int) -> None:
    buffer = bytearray()
    assert await read_head(_source(HEAD[:cut], HEAD[cut:] + b"rest"), buffer) == HEAD
    assert buffer == b"rest"


async def test_a_head_that_comes_byte_by_byte_is_read() -> None:
    assert await read_head(_source(*[bytes([b]) for b in HEAD])) == HEAD


async def test_two_heads_in_one_read_are_read_one_by_one() -> None:
    buffer = bytearray()
    source = _source(HEAD + HEAD + b"x")
    assert [await read_head(source, buffer) for _ in range(2)] == [HEAD, HEAD]
    assert buffer == b"x"


async def test_a_peer_that_says_nothing_has_closed() -> None:
    with pytest.raises(UnavailableError) as caught:
        await read_head(_source())
    assert caught.value.code == "connection_closed"


async def test_a_peer_that_stops_inside_the_head_has_sent_half_a_head() -> None:
    with pytest.raises(ProtocolError) as caught:
        await read_head(_source(HEAD[:-1]))
    assert caught.value.code == "head_incomplete"


async def test_an_endless_head_is_given_up_at_the_limit() -> None:
    source = _source(*[b"x" * 1000] * 100)
    buffer = bytearray()
    with pytest.raises(ProtocolError) as caught:
        await read_head(source, buffer)
    assert caught.value.code == "head_too_large"
    assert len(buffer) <= limits.HEAD_MAX_BYTES + 1000


async def test_a_body_is_read_to_its_length_or_the_end() -> None:
    assert await read_body(_source(b"bc", b"defg"), bytearray(b"a"), 5) == b"abcde"
    assert await read_body(_source(b"bc"), bytearray(b"a"), 5) == b"abc"
    assert await read_body(_source(), bytearray(b"abc"), 2) == b"ab"


async def test_tls_is_refused_at_its_first_byte() -> None:
    """No blank line would come: whoever waited for one would wait for the whole deadline."""
    with pytest.raises(ProtocolError, match="this is TLS"):
        await read_head(_source(b"\x16\x03\x01\x02\x00\x01"))
