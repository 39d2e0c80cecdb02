"""Reading one head from a stream: all of it, no more than it, within the limit."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from kled_wire import limits
from kled_wire.errors import ProtocolError, UnavailableError
from kled_wire.http.headio import read_head, read_response
from kled_wire.http.upgrade import encode_switching

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


@pytest.mark.parametrize("ending", [True, False])
async def test_a_response_is_read_to_its_length_or_the_end(ending: bool) -> None:
    about = b"HTTP/1.1 200 OK\r\n" + (b"" if ending else b"Content-Length: 5\r\n") + b"\r\n"
    head, body = await read_response(_source(about + b"a", b"bc", b"de", end=ending), bytearray())
    assert (head.status, body.content, body.whole) == (200, b"abcde", True)


async def test_what_follows_a_switch_is_left_in_the_buffer() -> None:
    buffer = bytearray()
    source = _source(encode_switching() + b"SSH-2.0-x\r\n", end=False)
    head, _body = await read_response(source, buffer)
    assert head.accepts()
    assert buffer == b"SSH-2.0-x\r\n"


async def test_tls_is_refused_at_its_first_byte() -> None:
    """No blank line would come: whoever waited for one would wait for the whole deadline."""
    with pytest.raises(ProtocolError, match="received TLS"):
        await read_head(_source(b"\x16\x03\x01\x02\x00\x01"))
