"""Bodies of responses: by length, in chunks, to the end; cut anywhere, and within the limit."""

from __future__ import annotations

import http.client
import io
import itertools
from contextlib import suppress

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from kled_wire.errors import ProtocolError
from kled_wire.http.body import ResponseBody
from kled_wire.http.heads import Headers, ResponseHead

_content = st.lists(st.binary(min_size=1, max_size=40) | st.just(b"0\r\n\r\n"), max_size=5)
_cuts = st.lists(st.integers(0, 300), max_size=6)


def head(status: int = 200, **headers: str) -> ResponseHead:
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return ResponseHead(status, "", Headers(names))


CHUNKED = head(transfer_encoding="chunked")


def read(about: ResponseHead, data: bytes, cuts: list[int], limit: int = 10_000) -> ResponseBody:
    """The body of `data`, given in pieces, then the end."""
    edges = sorted({0, len(data), *(c for c in cuts if c < len(data))})
    pieces = [data[start:end] for start, end in itertools.pairwise(edges)]
    body = ResponseBody(about, pieces[0] if pieces else b"", limit=limit)
    for piece in [*pieces[1:], b""]:
        if not body.finished:
            body.feed(piece)
    assert body.finished
    assert len(body.content) <= limit
    return body


def chunked(pieces: list[bytes], trailer: bytes = b"") -> bytes:
    chunks = b"".join(b"%x;a=b\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
    return chunks + b"0\r\n" + trailer + b"\r\n"


@given(_content, _cuts, st.sampled_from([b"", b"X: y\r\n"]), st.binary(max_size=9))
def test_chunks_are_joined_wherever_they_are_cut(
    pieces: list[bytes], cuts: list[int], trailer: bytes, after: bytes
) -> None:
    body = read(CHUNKED, chunked(pieces, trailer) + after, cuts)
    assert body.content == b"".join(pieces)
    assert body.whole


@given(_content, st.data())
def test_a_body_that_was_cut_off_is_not_whole(pieces: list[bytes], data: st.DataObject) -> None:
    whole = chunked(pieces)
    kept = data.draw(st.integers(0, len(whole) - 1))
    body = read(CHUNKED, whole[:kept], [])
    assert not body.whole
    assert b"".join(pieces).startswith(bytes(body.content))


@given(st.binary(max_size=60), _cuts)
@example(b"-1\r\n\r\n", [])
@example(b"f" * 16 + b"\r\n", [])
@example(b"1\r\nab\r\n0\r\n\r\n", [])
@example(b"0" * 2000, [])
@example(b"\xb2\r\n", [])
def test_garbage_is_a_body_or_a_protocol_error(data: bytes, cuts: list[int]) -> None:
    with suppress(ProtocolError):
        read(CHUNKED, data, cuts)


@given(_content)
def test_the_standard_library_reads_the_same(pieces: list[bytes]) -> None:
    class Socket(io.BytesIO):
        def makefile(self, _mode: str) -> Socket:
            return self

    said = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked(pieces)
    theirs = http.client.HTTPResponse(Socket(said))  # type: ignore[arg-type]  # all of a socket that it uses
    theirs.begin()
    assert read(CHUNKED, chunked(pieces), []).content == theirs.read()


@given(st.binary(max_size=40), _cuts)
def test_a_length_is_kept_to(data: bytes, cuts: list[int]) -> None:
    body = read(head(content_length="20"), data, cuts)
    assert body.content == data[:20]
    assert body.whole == (len(data) >= 20)


@given(st.binary(max_size=40), _cuts)
def test_without_a_length_the_end_is_the_end(data: bytes, cuts: list[int]) -> None:
    body = read(head(), data, cuts)
    assert (body.content, body.whole) == (data, True)


@pytest.mark.parametrize("status", [101, 204, 304])
def test_some_answers_have_no_body(status: int) -> None:
    body = ResponseBody(head(status, content_length="5"), b"SSH-2.0-x")
    assert (body.finished, body.whole, body.content) == (True, True, b"")


@pytest.mark.parametrize(
    ("about", "data"),
    [(head(content_length="11"), bytes(11)), (head(), bytes(11)),
     (CHUNKED, chunked([bytes(6), bytes(5)]))],
)  # fmt: skip
def test_what_is_over_the_limit_is_not_read(about: ResponseHead, data: bytes) -> None:
    body = read(about, data, [], limit=10)
    assert (body.whole, body.too_long) == (False, True)
    assert not read(about, data, [], limit=12).too_long


def test_a_coding_that_was_not_asked_for_is_malformed() -> None:
    with pytest.raises(ProtocolError) as caught:
        ResponseBody(head(transfer_encoding="gzip, chunked"), b"")
    assert caught.value.code == "answer_malformed"
