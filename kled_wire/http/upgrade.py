"""Requests that want an upgrade, and the answers to them: the server's side. No I/O.

Format: RFC 9112 (HTTP/1.1 messages) and RFC 9110, section 7.8 (Upgrade). Only what an upgrade
needs is read: start line and headers, no body.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from http import HTTPStatus
from math import ceil
from typing import Final

from kled_wire.errors import KledError, LimitError, encode_error_body
from kled_wire.http.heads import (
    UPGRADE,
    Headers,
    encode_head,
    is_token,
    malformed,
    split_head,
)

_TARGET: Final = re.compile(r"[\x21-\x7e]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestHead:
    """A request line and its headers, as in a ResponseHead."""

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


def parse_request(head: bytes) -> RequestHead:
    """Read one request head, up to and with the blank line.

    Raises ProtocolError("head_malformed").
    """
    start, headers = split_head(head)
    parts = start.split(" ")
    if len(parts) != 3 or not is_token(parts[0]) or not _TARGET.fullmatch(parts[1]):
        malformed("request line")
    if parts[2] != "HTTP/1.1" and parts[2] != "HTTP/1.0":
        malformed("HTTP version")
    if parts[2] == "HTTP/1.0" and "transfer-encoding" in headers:
        malformed("transfer-encoding in HTTP/1.0")  # RFC 9112, section 6.1
    return RequestHead(method=parts[0], target=parts[1], version=parts[2], headers=headers)


def encode_switching() -> bytes:
    """The 101 after which the connection is a raw byte stream."""
    return encode_head("HTTP/1.1 101 Switching Protocols", UPGRADE)


def encode_error(error: KledError) -> bytes:
    """A whole response that refuses, in the JSON shape of docs/protocol.md."""
    body = encode_error_body(error)
    later = {"Retry-After": f"{ceil(error.retry_after_s)}"} if isinstance(error, LimitError) else {}
    head = encode_head(
        f"HTTP/1.1 {error.status} {HTTPStatus(error.status).phrase}",
        {
            **later,
            "Content-Type": "application/json",
            "Content-Length": f"{len(body)}",
            "Cache-Control": "no-store",
            "Connection": "close",
        },
    )
    return head + body
