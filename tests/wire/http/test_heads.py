"""HTTP heads: split anywhere, whole ones read in one way; responses and what they mean."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from kled_wire import limits
from kled_wire.errors import NotFoundError, ProtocolError, UnavailableError
from kled_wire.errors import encode_error_body as encoded
from kled_wire.http import heads

REQUEST = heads.encode_request("GET /a", "h", {**heads.UPGRADE, "Authorization": "Kled-Ticket t"})


@pytest.mark.parametrize("cut", range(len(REQUEST)))
def test_a_head_split_at_any_byte_is_not_complete_before_its_end(cut: int) -> None:
    assert heads.head_length(REQUEST[:cut]) is None
    assert heads.head_length(REQUEST) == len(REQUEST)
    assert heads.head_length(REQUEST + b"SSH-2.0\r\n\r\n") == len(REQUEST)


def test_a_head_over_the_limit_is_refused_however_it_comes() -> None:
    most = b"GET / HTTP/1.1\r\nX: "
    fits = most + b"x" * (limits.HEAD_MAX_BYTES - len(most) - 4) + b"\r\n\r\n"
    assert heads.head_length(fits) == limits.HEAD_MAX_BYTES
    for data in (fits[:-4] + b"x\r\n\r\n", b"x" * limits.HEAD_MAX_BYTES):
        with pytest.raises(ProtocolError) as caught:
            heads.head_length(data)
        assert caught.value.code == "head_too_large"


@given(st.binary(max_size=200))
@example(b"HTTP/1.1 200 OK\r\n\xb2: 1")
def test_garbage_is_a_response_or_a_protocol_error(data: bytes) -> None:
    with contextlib.suppress(ProtocolError):
        heads.parse_response(data + b"\r\n\r\n")


@pytest.mark.parametrize("status", [b"\xb2\xb2\xb2", b"1\xb9\xb2", b"20", b"2000", b"-10", b""])
def test_a_status_that_is_not_three_digits_is_malformed(status: bytes) -> None:
    with pytest.raises(ProtocolError):
        heads.parse_response(b"HTTP/1.1 " + status + b" OK\r\n\r\n")


@pytest.mark.parametrize(
    "header",
    [b"Content-Length: \xb2", b"Content-Length: -1", b"Content-Length: 1\r\nContent-Length: 2",
     b"Upgrade: a\r\nUpgrade: kled-stream", b"Transfer-Encoding: chunked\r\nContent-Length: 1",
     b" folded: x", b"Content-Length : 1", b"X: a\x00b", b"X"],
)  # fmt: skip
def test_a_response_that_can_be_read_in_two_ways_is_malformed(header: bytes) -> None:
    with pytest.raises(ProtocolError) as caught:
        heads.parse_response(b"HTTP/1.1 200 OK\r\n" + header + b"\r\n\r\n")
    assert caught.value.code == "head_malformed"


def test_a_status_line_needs_no_reason() -> None:
    for line in (b"HTTP/1.1 101", b"HTTP/1.1 101 "):
        head = heads.parse_response(line + b"\r\nUPGRADE:  Kled-Stream \r\n\r\n")
        assert (head.status, head.reason, head.accepts()) == (101, "", True)


@pytest.mark.parametrize("header", [{"A": "x\r\nB: y"}, {"A\n": "x"}, {"A": "x\n"}])
def test_a_header_with_a_line_break_is_never_sent(header: dict[str, str]) -> None:
    with pytest.raises(ProtocolError):
        heads.encode_request("GET /", "h", header)


def test_switching_means_101_and_our_protocol() -> None:
    def answer(start: str, protocol: str) -> heads.ResponseHead:
        head = heads.encode_head(f"HTTP/1.1 {start}", {"Upgrade": protocol})
        return heads.parse_response(head)

    assert answer("101 Switching Protocols", "kled-stream").accepts()
    assert not answer("101 Switching Protocols", "websocket").accepts()
    assert answer("101 Switching Protocols", "WebSocket").accepts("websocket")
    assert not answer("200 OK", "kled-stream").accepts()


def test_a_coordinators_refusal_is_its_error() -> None:
    error = heads.decode_refusal(404, encoded(NotFoundError("workspace_not_found", "no dev")))
    assert isinstance(error, NotFoundError)
    assert error.code == "workspace_not_found"


@pytest.mark.parametrize(
    ("status", "body"),
    [(502, b"<html>"), (200, b""), (426, encoded(NotFoundError("upgrade_required", "wants it")))],
)
def test_what_stands_between_refuses_the_upgrade(status: int, body: bytes) -> None:
    """A 426 of the coordinator's own too: something took the header away on the way to it."""
    error = heads.decode_refusal(status, body)
    assert isinstance(error, UnavailableError)
    assert error.code == "upgrade_refused"
    assert str(status) in error.message
