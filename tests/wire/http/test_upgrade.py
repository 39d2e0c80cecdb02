"""Requests that want an upgrade: ambiguous ones refused; and what they are answered."""

from __future__ import annotations

import contextlib
from http import HTTPStatus

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from kled_wire.errors import NotFoundError, ProtocolError, from_status
from kled_wire.http import heads, upgrade

REQUEST = (
    b"GET /api/v1/agent/stream HTTP/1.1\r\nHost: h\r\nConnection: keep-alive, Upgrade\r\n"
    b"Upgrade: kled-stream\r\nAuthorization: Kled-Ticket t\r\n\r\n"
)
_header_values = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=40).map(
    str.strip
)
_header_names = st.from_regex(r"x-[a-z0-9-]{1,20}", fullmatch=True)


@given(st.dictionaries(_header_names, _header_values, max_size=6))
def test_a_request_is_read_as_it_was_written(headers: dict[str, str]) -> None:
    head = upgrade.parse_request(
        heads.encode_request("GET /a?b=c", "h:1", {**heads.UPGRADE, **headers})
    )
    assert (head.method, head.target, head.path) == ("GET", "/a?b=c", "/a")
    assert head.upgrade == heads.STREAM_PROTOCOL
    assert not head.has_body
    assert {name: head.headers[name] for name in headers} == headers


# What two HTTP implementations may read differently (RFC 9112, sections 2.2, 5, 6 and 11.2).
_SMUGGLING = {
    "bare LF between headers": b"GET / HTTP/1.1\r\nHost: h\nX: y\r\n\r\n",
    "bare CR in a value": b"GET / HTTP/1.1\r\nHost: h\rX: y\r\n\r\n",
    "line folding": b"GET / HTTP/1.1\r\nHost: h\r\n folded\r\n\r\n",
    "line folding by tab": b"GET / HTTP/1.1\r\nHost: h\r\n\tfolded: x\r\n\r\n",
    "space before the colon": b"GET / HTTP/1.1\r\nContent-Length : 5\r\n\r\n",
    "tab before the colon": b"GET / HTTP/1.1\r\nContent-Length\t: 5\r\n\r\n",
    "no name": b"GET / HTTP/1.1\r\n: x\r\n\r\n",
    "no colon": b"GET / HTTP/1.1\r\nHost\r\n\r\n",
    "NUL in a value": b"GET / HTTP/1.1\r\nHost: h\0\r\n\r\n",
    "DEL in a value": b"GET / HTTP/1.1\r\nHost: \x7f\r\n\r\n",
    "repeated content-length": b"POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
    "content-length twice": b"GET / HTTP/1.1\r\nContent-Length: 1\r\ncontent-length: 1\r\n\r\n",
    "transfer-encoding and content-length":
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n",
    "two hosts": b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    "two authorizations": b"GET / HTTP/1.1\r\nAuthorization: a\r\nAuthorization: b\r\n\r\n",
    "two upgrades": b"GET / HTTP/1.1\r\nUpgrade: a\r\nUpgrade: b\r\n\r\n",
    "space in the target": b"GET /a b HTTP/1.1\r\n\r\n",
    "two spaces": b"GET  / HTTP/1.1\r\n\r\n",
    "no version": b"GET /\r\n\r\n",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\n",
    "HTTP/1.10": b"GET / HTTP/1.10\r\n\r\n",
    "lower case http": b"GET / http/1.1\r\n\r\n",
    "leading space": b" GET / HTTP/1.1\r\n\r\n",
    "leading blank line": b"\r\nGET / HTTP/1.1\r\n\r\n",
    "control byte in the target": b"GET /\x01 HTTP/1.1\r\n\r\n",
    "unicode space": b"GET\xa0/ HTTP/1.1\r\n\r\n",
    "no end": b"GET / HTTP/1.1\r\nHost: h\r\n",
    "nothing": b"",
}  # fmt: skip


@pytest.mark.parametrize("name", _SMUGGLING)
def test_a_head_that_can_be_read_in_two_ways_is_refused(name: str) -> None:
    with pytest.raises(ProtocolError) as caught:
        upgrade.parse_request(_SMUGGLING[name])
    assert caught.value.code == "head_malformed"


@given(st.binary(max_size=200))
@example(b"GET / HTTP/1.1\r\n\xb2: 1\r\n\r\n")
def test_garbage_is_a_head_or_a_protocol_error(data: bytes) -> None:
    with contextlib.suppress(ProtocolError):
        upgrade.parse_request(data + b"\r\n\r\n")


def test_headers_of_one_name_are_joined() -> None:
    head = upgrade.parse_request(b"GET / HTTP/1.1\r\nAccept: a\r\naccept:  b \r\n\r\n")
    assert head.headers["accept"] == "a, b"


@pytest.mark.parametrize(
    ("headers", "wanted"),
    [
        (b"Connection: Upgrade\r\nUpgrade: KLED-Stream\r\n", "kled-stream"),
        (b"Connection: keep-alive, upgrade\r\nUpgrade: websocket\r\n", "websocket"),
        (b"Upgrade: websocket\r\n", None),
        (b"Connection: Upgrade\r\n", None),
        (b"Connection: upgraded\r\nUpgrade: websocket\r\n", None),
    ],
)
def test_an_upgrade_needs_both_of_its_headers(headers: bytes, wanted: str | None) -> None:
    assert upgrade.parse_request(b"GET / HTTP/1.1\r\n" + headers + b"\r\n").upgrade == wanted


@pytest.mark.parametrize(
    ("headers", "wanted"),
    [
        (b"", False),
        (b"Content-Length: 0\r\n", False),
        (b"Content-Length: 1\r\n", True),
        (b"Content-Length: 00\r\n", True),
        (b"Transfer-Encoding: chunked\r\n", True),
        (b"Transfer-Encoding: identity\r\n", True),
    ],
)
def test_a_body_is_noticed_when_in_doubt(headers: bytes, wanted: bool) -> None:
    assert upgrade.parse_request(b"GET / HTTP/1.1\r\n" + headers + b"\r\n").has_body == wanted


def test_a_refusal_is_a_response_with_the_error_in_it() -> None:
    answer = upgrade.encode_error(NotFoundError("workspace_not_found", "no dev", hint="kled list"))
    size = heads.head_length(answer)
    assert size is not None
    head, body = heads.parse_response(answer[:size]), answer[size:]
    assert head.headers["content-length"] == str(len(body))
    error = heads.decode_refusal(head.status, body)
    assert isinstance(error, NotFoundError)
    assert (error.code, error.line()) == ("workspace_not_found", "no dev (kled list)")


@pytest.mark.parametrize(
    ("status", "phrase"),
    [
        (403, b"Forbidden"),
        (409, b"Conflict"),
        (422, HTTPStatus(422).phrase.encode()),  # Python 3.13 has RFC 9110's name for it
        (426, b"Upgrade Required"),
        (429, b"Too Many Requests"),
        (500, b"Internal Server Error"),
        (503, b"Service Unavailable"),
    ],
)
def test_a_refusal_has_the_reason_phrase_of_its_status(status: int, phrase: bytes) -> None:
    answer = upgrade.encode_error(from_status(status, "code", "message"))
    assert answer.startswith(b"HTTP/1.1 %d %s\r\n" % (status, phrase))
