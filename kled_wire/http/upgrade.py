"""HTTP/1.1 request and response heads for `Upgrade: kled-stream`, both sides, without I/O.

Format: RFC 9112 (HTTP/1.1 messages) and RFC 9110, section 7.8 (Upgrade). Only what an upgrade
needs is read: start line, headers, no body. Line folding, bare LF, whitespace before the colon
and control characters are refused, because proxies disagree about them (request smuggling).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from math import ceil
from typing import Final, NewType, NoReturn

from kled_wire import limits
from kled_wire.errors import KledError, LimitError, ProtocolError, UnavailableError, from_status

STREAM_PROTOCOL: Final = "kled-stream"
HEAD_END: Final = b"\r\n\r\n"

_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE: Final = re.compile(r"[\t\x20-\x7e\x80-\xff]*")
_TARGET: Final = re.compile(r"[\x21-\x7e]+")
# Not str.isdigit: the superscripts of latin-1 are digits too, and int() refuses them.
_STATUS: Final = re.compile(r"[0-9]{3}")
_LENGTH: Final = re.compile(r"[0-9]{1,15}")

Headers = NewType("Headers", Mapping[str, str])


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestHead:
    """A request line and its headers; names are lower case, repeated ones joined with ", "."""

    method: str
    target: str
    version: str
    headers: Headers

    @property
    def path(self) -> str:
        """The target without its query."""
        return self.target.partition("?")[0]

    @property
    def upgrade(self) -> str | None:
        """What the request wants to become, lower case, or None for an ordinary request.

        HTTP/1.0 has no upgrades (RFC 9110, section 7.8).
        """
        if self.version == "HTTP/1.0":
            return None
        tokens = [t.strip().lower() for t in self.headers.get("connection", "").split(",")]
        if "upgrade" not in tokens:
            return None
        return self.headers.get("upgrade", "").strip().lower() or None

    @property
    def has_body(self) -> bool:
        """Whether a body follows the head."""
        return "transfer-encoding" in self.headers or self.headers.get("content-length", "0") != "0"


@dataclass(frozen=True, slots=True, kw_only=True)
class ResponseHead:
    """A status line and its headers."""

    status: int
    reason: str
    headers: Headers

    @property
    def content_length(self) -> int | None:
        """What Content-Length says, None when it is absent or no number."""
        text = self.headers.get("content-length", "")
        return int(text) if _LENGTH.fullmatch(text) else None


def head_length(data: bytes | bytearray) -> int | None:
    """The length of the head at the start of `data` with its blank line; None if more must come.

    Raises ProtocolError("head_too_large") past limits.HEAD_MAX_BYTES.
    """
    end = data.find(HEAD_END, 0, limits.HEAD_MAX_BYTES)
    if end >= 0:
        return end + len(HEAD_END)
    if len(data) >= limits.HEAD_MAX_BYTES:
        raise ProtocolError(
            "head_too_large", f"the request head is over {limits.HEAD_MAX_BYTES // 1024} KiB"
        )
    return None


def parse_request(head: bytes) -> RequestHead:
    """Read one request head, up to and with the blank line.

    Raises ProtocolError("head_malformed").
    """
    start, headers = _split(head)
    parts = start.split(" ")
    if len(parts) != 3 or not _TOKEN.fullmatch(parts[0]) or not _TARGET.fullmatch(parts[1]):
        _malformed("request line")
    if parts[2] != "HTTP/1.1" and parts[2] != "HTTP/1.0":
        _malformed("HTTP version")
    if not _LENGTH.fullmatch(headers.get("content-length", "0")):
        _malformed("content-length")
    if parts[2] == "HTTP/1.0" and "transfer-encoding" in headers:
        _malformed("transfer-encoding in HTTP/1.0")  # RFC 9112, section 6.1
    return RequestHead(method=parts[0], target=parts[1], version=parts[2], headers=headers)


def parse_response(head: bytes) -> ResponseHead:
    """Read one response head. Raises ProtocolError("head_malformed")."""
    start, headers = _split(head)
    version, _, rest = start.partition(" ")
    code, _, reason = rest.partition(" ")
    if not version.startswith("HTTP/1.") or _STATUS.fullmatch(code) is None:
        _malformed("status line")
    return ResponseHead(status=int(code), reason=reason, headers=headers)


def encode_request(target: str, *, host: str, headers: Mapping[str, str]) -> bytes:
    """The head that asks for a kled-stream; `headers` are added to Host and Upgrade."""
    lines = [
        f"GET {target} HTTP/1.1",
        f"Host: {host}",
        "Connection: Upgrade",
        f"Upgrade: {STREAM_PROTOCOL}",
        *(f"{name}: {value}" for name, value in headers.items()),
    ]
    return _encode(lines)


def encode_switching() -> bytes:
    """The 101 after which the connection is a raw byte stream."""
    return _encode(
        [
            "HTTP/1.1 101 Switching Protocols",
            "Connection: Upgrade",
            f"Upgrade: {STREAM_PROTOCOL}",
        ]
    )


def encode_error(error: KledError) -> bytes:
    """A whole response that refuses, in the JSON shape of docs/protocol.md."""
    body = encode_error_body(error)
    later = [f"Retry-After: {ceil(error.retry_after_s)}"] if isinstance(error, LimitError) else []
    head = _encode(
        [
            f"HTTP/1.1 {error.status} {HTTPStatus(error.status).phrase}",
            *later,
            "Content-Type: application/json",
            f"Content-Length: {len(body)}",
            "Cache-Control: no-store",
            "Connection: close",
        ]
    )
    return head + body


def encode_error_body(error: KledError) -> bytes:
    """The one JSON shape of an error."""
    shape = {"code": error.code, "message": error.message, "hint": error.hint}
    return json.dumps({"error": shape}).encode()


def decode_error(status: int, body: bytes) -> KledError:
    """The error a refused upgrade stands for; bodies that are not ours become "upgrade_refused"."""
    try:
        shape = json.loads(body)["error"]
        hint = shape.get("hint")
        return from_status(
            status,
            str(shape["code"]),
            str(shape["message"]),
            hint if isinstance(hint, str) else None,
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return UnavailableError(
            "upgrade_refused",
            f"the answer was HTTP {status}, not a stream",
            hint="something between here and the coordinator may not let upgrades through",
        )


def check_switching(head: ResponseHead) -> bool:
    """Whether a response accepts the upgrade to a kled-stream."""
    return head.status == 101 and head.headers.get("upgrade", "").lower() == STREAM_PROTOCOL


def _encode(lines: list[str]) -> bytes:
    for line in lines:
        if "\r" in line or "\n" in line:
            _malformed("header line break")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def _split(head: bytes) -> tuple[str, Headers]:
    if not head.endswith(HEAD_END):
        _malformed("end of head")
    start, *lines = head[: -len(HEAD_END)].decode("latin-1").split("\r\n")
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        value = value.strip(" \t")
        if not colon or not _TOKEN.fullmatch(name) or not _VALUE.fullmatch(value):
            _malformed("header line")
        name = name.lower()
        if name in headers and name in {"host", "content-length", "authorization", "upgrade"}:
            _malformed(f"repeated {name}")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    if "transfer-encoding" in headers and "content-length" in headers:
        _malformed("content-length beside transfer-encoding")  # RFC 9112, section 6.1
    return start, Headers(headers)


def _malformed(what: str) -> NoReturn:
    raise ProtocolError("head_malformed", f"malformed HTTP: {what}")
