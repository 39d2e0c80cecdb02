"""The server's side of SOCKS5 (RFC 1928), CONNECT without authentication, as bytes and values."""

from __future__ import annotations

import ipaddress
from enum import IntEnum

from kled_client.forward.spec import TcpEnd
from kled_wire.errors import ProtocolError

_VERSION = 5
_NO_AUTHENTICATION = 0
_NONE_ACCEPTABLE = b"\x05\xff"
_CONNECT = 1
_IPV4, _NAME = 1, 3


class Reply(IntEnum):
    """RFC 1928, section 6."""

    SUCCEEDED = 0
    FAILED = 1
    HOST_UNREACHABLE = 4
    REFUSED = 5
    COMMAND_UNSUPPORTED = 7
    ADDRESS_UNSUPPORTED = 8


class SocksError(ProtocolError):
    """Not a request that can be served; `reply` is what the client is told before the end."""

    def __init__(self, message: str, reply: bytes = b"") -> None:
        super().__init__("socks_invalid", message)
        self.reply = reply


def encode_reply(reply: Reply) -> bytes:
    """The answer to a request; the bound address, which nobody reads, is 0.0.0.0:0."""
    return bytes((_VERSION, reply, 0, _IPV4)) + bytes(6)


class SocksRequest:
    """Feed it what the client sends until `target` is there; `rest` is what came after."""

    def __init__(self) -> None:
        self.target: TcpEnd | None = None
        self._held = b""
        self._greeted = False

    @property
    def rest(self) -> bytes:
        """What the client already sent for the target."""
        return self._held

    def feed(self, data: bytes) -> bytes:
        """What to send now, often nothing. Raises SocksError."""
        self._held += data
        answer = b""
        if not self._greeted:
            answer = self._greet()
        if self._greeted and self.target is None:
            self._read_request()
        return answer

    def _greet(self) -> bytes:
        held = self._held
        if held and held[0] != _VERSION:
            raise SocksError("the client does not speak SOCKS5")
        if len(held) < 2 or len(held) < 2 + held[1]:
            return b""
        methods, self._held = held[2 : 2 + held[1]], held[2 + held[1] :]
        if _NO_AUTHENTICATION not in methods:
            raise SocksError("the client requires authentication", _NONE_ACCEPTABLE)
        self._greeted = True
        return bytes((_VERSION, _NO_AUTHENTICATION))

    def _read_request(self) -> None:
        held = self._held
        if len(held) < 5:  # the fifth byte is a name's length, or the address has begun
            return
        version, command, _, kind = held[:4]
        if version != _VERSION:
            raise SocksError("the request is not SOCKS5")
        if command != _CONNECT:
            raise SocksError(
                f"SOCKS command {command} is not supported", encode_reply(Reply.COMMAND_UNSUPPORTED)
            )
        start, size = _address(kind, held[4])
        end = start + size + 2
        if len(held) < end:
            return
        raw, port = held[start : start + size], int.from_bytes(held[end - 2 : end], "big")
        self.target, self._held = TcpEnd(host=_host(kind, raw), port=port), held[end:]


def _address(kind: int, first: int) -> tuple[int, int]:
    """Where the address starts, and its length."""
    match kind:
        case 1:
            return 4, 4
        case 3:
            return 5, first
        case 4:
            return 4, 16
    raise SocksError(
        f"SOCKS address type {kind} is unknown", encode_reply(Reply.ADDRESS_UNSUPPORTED)
    )


def _host(kind: int, raw: bytes) -> str:
    if kind != _NAME:
        return str(ipaddress.ip_address(raw))
    try:
        name = raw.decode("ascii")
    except UnicodeDecodeError:
        name = ""
    if not name or not name.isprintable():
        raise SocksError("the host name is invalid", encode_reply(Reply.HOST_UNREACHABLE))
    return name
