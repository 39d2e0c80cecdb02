"""HTTP heads: split anywhere, ambiguous ones refused."""

from __future__ import annotations

import json
from http import HTTPStatus

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from kled_wire import limits
from kled_wire.errors import (
    KledError,
    NotFoundError,
    ProtocolError,
    UnavailableError,
    from_status,
)
from kled_wire.http import upgrade

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
    head = upgrade.parse_request(upgrade.encode_request("/a?b=c", host="h:1", headers=headers))
    assert (head.method, head.target, head.path) == ("GET", "/a?b=c", "/a")
    assert head.upgrade == upgrade.STREAM_PROTOCOL
    assert not head.has_body
    assert {name: head.headers[name] for name in headers} == headers


@pytest.mark.parametrize("cut", range(len(REQUEST)))
def test_a_head_split_at_any_byte_is_not_complete_before_its_end(cut: int) -> None:
    assert upgrade.head_length(REQUEST[:cut]) is None
    assert upgrade.head_length(REQUEST) == len(REQUEST)
    assert upgrade.head_length(REQUEST + b"SSH-2.0\r\n\r\n") == len(REQUEST)


def test_a_head_over_the_limit_is_refused_however_it_comes() -> None:
    most = b"GET / HTTP/1.1\r\nX: "
    fits = most + b"x" * (limits.HEAD_MAX_BYTES - len(most) - 4) + b"\r\n\r\n"
    assert upgrade.head_length(fits) == limits.HEAD_MAX_BYTES
    for data in (fits[:-4] + b"x\r\n\r\n", b"x" * limits.HEAD_MAX_BYTES):
        with pytest.raises(ProtocolError) as caught:
            upgrade.head_length(data)
        assert caught.value.code == "head_too_large"


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
    for parse in (upgrade.parse_request, upgrade.parse_response):
        try:
            parse(data + b"\r\n\r\n")
        except ProtocolError:
            continue


@pytest.mark.parametrize("status", [b"\xb2\xb2\xb2", b"1\xb9\xb2", b"20", b"2000", b"-10", b""])
def test_a_status_that_is_not_three_digits_is_malformed(status: bytes) -> None:
    with pytest.raises(ProtocolError):
        upgrade.parse_response(b"HTTP/1.1 " + status + b" OK\r\n\r\n")


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


@pytest.mark.parametrize("header", [{"A": "x\r\nB: y"}, {"A\n": "x"}, {"A": "x\n"}])
def test_a_header_with_a_line_break_is_never_sent(header: dict[str, str]) -> None:
    with pytest.raises(ProtocolError):
        upgrade.encode_request("/", host="h", headers=header)


def test_switching_means_101_and_our_protocol() -> None:
    assert upgrade.check_switching(upgrade.parse_response(upgrade.encode_switching()))
    other = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n"
    assert not upgrade.check_switching(upgrade.parse_response(other))
    plain = b"HTTP/1.1 200 OK\r\nUpgrade: kled-stream\r\n\r\n"
    assert not upgrade.check_switching(upgrade.parse_response(plain))


@given(
    st.sampled_from([400, 401, 403, 404, 409, 422, 426, 429, 500, 503, 599]),
    st.text(max_size=20),
    st.text(max_size=40),
    st.none() | st.text(max_size=20),
)
def test_an_error_survives_its_answer(
    status: int, code: str, message: str, hint: str | None
) -> None:
    error = from_status(status, code, message, hint)
    answer = upgrade.encode_error(error)
    size = upgrade.head_length(answer)
    assert size is not None
    head, body = upgrade.parse_response(answer[:size]), answer[size:]
    assert head.headers["content-length"] == str(len(body))
    decoded = upgrade.decode_error(head.status, body)
    assert type(decoded) is type(error)
    assert (decoded.code, decoded.message, decoded.hint) == (code, message, hint)


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


@given(st.binary(max_size=200))
@example(b"[" * 100_000)
@example(b'{"error": [1]}')
@example(b'{"error": {"code": 1}}')
@example(b"1" * 5000)
@example(b"\xff\xfe")
def test_a_body_that_is_not_ours_means_the_upgrade_was_refused(body: bytes) -> None:
    error = upgrade.decode_error(502, body)
    assert isinstance(error, UnavailableError)
    assert error.code == "upgrade_refused"
    assert "502" in error.message


def test_a_hint_that_is_no_text_is_left_out() -> None:
    body = json.dumps({"error": {"code": "c", "message": "m", "hint": {"a": 1}}}).encode()
    error: KledError = upgrade.decode_error(404, body)
    assert isinstance(error, NotFoundError)
    assert error.hint is None
