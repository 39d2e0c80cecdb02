"""The grammar of HTTP/1.1 heads, and response heads as plain tuples. No I/O.

Format: RFC 9112 (HTTP/1.1 messages). Line folding, bare LF, whitespace before the colon and
control characters are refused, because proxies disagree about them (request smuggling).
`kled stream` reads its answer with this: no dataclass and no regular expression at its start.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, NewType, NoReturn

from kled_wire import limits
from kled_wire.errors import (
    KledError,
    ProtocolError,
    UnavailableError,
    UpgradeRequiredError,
    decode_error,
)

STREAM_PROTOCOL = "kled-stream"
# The headers that request a kled-stream and accept it (RFC 9110, section 7.8).
UPGRADE = {"Connection": "Upgrade", "Upgrade": STREAM_PROTOCOL}
HEAD_END = b"\r\n\r\n"

_LETTERS = "abcdefghijklmnopqrstuvwxyz"
_TOKEN = frozenset(_LETTERS + _LETTERS.upper() + "0123456789!#$%&'*+-.^_`|~")
_CONTROLS = frozenset(map(chr, (*range(9), *range(10, 32), 127)))
# A stranger could steer a program that reads the first of two through one that reads the second.
_ONCE = frozenset({"host", "content-length", "authorization", "upgrade"})
_LENGTH_DIGITS = 15

Headers = NewType("Headers", Mapping[str, str])


class ResponseHead(NamedTuple):
    """A status line and its headers; names are lower case, repeated ones joined with ", "."""

    status: int
    reason: str
    headers: Headers

    def accepts(self, protocol: str = STREAM_PROTOCOL) -> bool:
        """Whether the connection has become one of `protocol`."""
        return self.status == 101 and self.headers.get("upgrade", "").lower() == protocol


def head_length(data: bytes | bytearray) -> int | None:
    """The length of the head at the start of `data` with its blank line; None if more must come.

    Raises ProtocolError("head_too_large") past limits.HEAD_MAX_BYTES.
    """
    end = data.find(HEAD_END, 0, limits.HEAD_MAX_BYTES)
    if end >= 0:
        return end + len(HEAD_END)
    if len(data) >= limits.HEAD_MAX_BYTES:
        raise ProtocolError(
            "head_too_large", f"the head is over {limits.HEAD_MAX_BYTES // 1024} KiB"
        )
    return None


def parse_response(head: bytes) -> ResponseHead:
    """Read one response head. Raises ProtocolError("head_malformed")."""
    start, headers = split_head(head)
    version, _, rest = start.partition(" ")
    code, _, reason = rest.partition(" ")
    if not version.startswith("HTTP/1.") or len(code) != 3 or not is_number(code):
        malformed("status line")
    return ResponseHead(status=int(code), reason=reason, headers=headers)


def decode_refusal(status: int, body: bytes) -> KledError:
    """The error that an answer without the upgrade stands for.

    UnavailableError("upgrade_refused") where a proxy on the path answered, or took the Upgrade
    header away, to which a coordinator says 426: a WebSocket may get through.
    """
    error = decode_error(status, body)
    if error is not None and status != UpgradeRequiredError.status:
        return error
    return UnavailableError(
        "upgrade_refused",
        f"the server answered HTTP {status} and opened no stream",
        hint="a proxy on the path may block upgrades",
    )


def encode_request(start: str, host: str, headers: Mapping[str, str]) -> bytes:
    """A request head; `start` is "METHOD /target". Raises ProtocolError("head_malformed")."""
    return encode_head(f"{start} HTTP/1.1", {"Host": host, **headers})


def encode_head(start: str, headers: Mapping[str, str]) -> bytes:
    """A head with its blank line. Raises ProtocolError("head_malformed") for a line break."""
    lines = [start, *(f"{name}: {value}" for name, value in headers.items())]
    if any("\r" in line or "\n" in line for line in lines):
        malformed("header line break")
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def split_head(head: bytes) -> tuple[str, Headers]:
    """The start line of a head and its headers. Raises ProtocolError("head_malformed")."""
    if not head.endswith(HEAD_END):
        malformed("end of head")
    start, *lines = head[: -len(HEAD_END)].decode("latin-1").split("\r\n")
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        value = value.strip(" \t")
        if not colon or not is_token(name) or not _CONTROLS.isdisjoint(value):
            malformed("header line")
        name = name.lower()
        if name in headers and name in _ONCE:
            malformed(f"repeated {name}")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    if "transfer-encoding" in headers and "content-length" in headers:
        malformed("content-length beside transfer-encoding")  # RFC 9112, section 6.1
    if not is_number(headers.get("content-length", "0")):
        malformed("content-length")
    return start, Headers(headers)


def is_token(text: str) -> bool:
    """Whether `text` is a method's or a header's name (RFC 9110, section 5.6.2)."""
    return bool(text) and _TOKEN.issuperset(text)


def is_number(text: str) -> bool:
    """Whether `text` is a length or a status. The superscripts of latin-1 are digits too."""
    return text.isascii() and text.isdecimal() and len(text) <= _LENGTH_DIGITS


def malformed(what: str) -> NoReturn:
    """Raise ProtocolError("head_malformed")."""
    raise ProtocolError("head_malformed", f"malformed HTTP: {what}")
