"""Parses a SPEC of `kled forward`: `8080`, `3000-3010`, `127.0.0.1:8080:db:5432`, `/a:/b`.

The grammar of `ssh -L`, shortened where a part has an obvious value: LISTEN[:TARGET]. LISTEN is
[BIND:]PORT or a socket's path, TARGET is [HOST:]PORT or a path. A path begins with `/` or
`unix:/` and holds no colon; PORT may be a range; IPv6 stands in brackets.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from kled_wire.errors import InputError
from kled_wire.hosts import bracketed

LOOPBACK = "127.0.0.1"
RANGE_MAX = 1000
_PART = re.compile(r"\[([0-9A-Fa-f:.%a-z]*)\]|([^:\[\]]*)")
_PORTS = re.compile(r"([0-9]{1,5})(?:-([0-9]{1,5}))?", re.ASCII)


class ForwardKind(StrEnum):
    """Who listens: this machine, the workspace, this machine as a SOCKS5 proxy or for UDP."""

    LOCAL = "local"
    REMOTE = "remote"
    DYNAMIC = "dynamic"
    UDP = "udp"


@dataclass(frozen=True, slots=True, kw_only=True)
class TcpEnd:
    """A host and a port; port 0, where one listens, is any free one."""

    host: str
    port: int

    def __str__(self) -> str:
        """`host:port`, IPv6 in brackets."""
        return f"{bracketed(self.host)}:{self.port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class UnixEnd:
    """A socket in the file system."""

    path: str

    def __str__(self) -> str:
        """The absolute path."""
        return self.path


End = TcpEnd | UnixEnd


@dataclass(frozen=True, slots=True, kw_only=True)
class Forward:
    """Listen on `listen`, connect to `target` on the other side (None: whatever SOCKS asks)."""

    kind: ForwardKind
    listen: End
    target: End | None

    def __str__(self) -> str:
        """The full form, which parses to the same."""
        return str(self.listen) if self.target is None else f"{self.listen}:{self.target}"


# A part of a spec as far as it can be judged alone: ports first to last, a path, or a host.
_Ports = tuple[int, int]
_Part = _Ports | UnixEnd | str


def parse_forward(text: str, kind: ForwardKind = ForwardKind.LOCAL) -> tuple[Forward, ...]:
    """One forward, or one for each port of a range. Raises InputError("forward_invalid")."""
    parts = _parts(text)
    if kind is ForwardKind.DYNAMIC:
        listens = _listens(text, parts)
        return tuple(Forward(kind=kind, listen=listen, target=None) for listen in listens)
    listen, target = _halves(text, parts)
    listens, targets = _listens(text, listen), _targets(text, target)
    if len(listens) == 1 < len(targets) and listen[-1] == (0, 0):
        listens *= len(targets)
    if len(listens) != len(targets):
        raise _invalid(text, "the ranges differ in length")
    pairs = zip(listens, targets, strict=True)
    return tuple(Forward(kind=kind, listen=here, target=there) for here, there in pairs)


def _halves(text: str, parts: list[_Part]) -> tuple[list[_Part], list[_Part]]:
    """The parts of the listening end and those of the other one."""
    match parts:
        case [tuple() | UnixEnd()]:
            return parts, parts
        case [str(), tuple() as ports]:
            raise _invalid(text, f"{ports[0]} has a host or an address, but no target")
        case [tuple() | UnixEnd(), *rest]:
            return parts[:1], rest
        case [str(), tuple(), *rest]:
            return parts[:2], rest
    raise _invalid(text, "it has the wrong number of parts, or an empty one")


def _listens(text: str, parts: list[_Part]) -> list[End]:
    match parts:
        case [UnixEnd() as path]:
            return [path]
        case [(first, last)]:
            return [TcpEnd(host=LOOPBACK, port=port) for port in range(first, last + 1)]
        case [str() as bind, (first, last)]:
            return [TcpEnd(host=bind, port=port) for port in range(first, last + 1)]
    raise _invalid(text, "the address to listen on is missing")


def _targets(text: str, parts: list[_Part]) -> list[End]:
    match parts:
        case [UnixEnd() as path]:
            return [path]
        case [(first, last)]:
            host = "localhost"
        case [str() as host, (first, last)]:
            pass
        case _:
            raise _invalid(text, "the target is missing")
    if first == 0:
        raise _invalid(text, "port 0 is valid for listening only")
    return [TcpEnd(host=host, port=port) for port in range(first, last + 1)]


def _parts(text: str) -> list[_Part]:
    parts: list[_Part] = []
    position = 0
    while True:
        match = _PART.match(text, position)
        assert match is not None  # the pattern matches the empty string
        word, position = match[2], match.end()
        if match[1] is not None:
            parts.append(_host(text, match[1]))
        elif word == "unix" and text[position : position + 2] == ":/":
            pass
        else:
            parts.append(_part(text, word))
        if position == len(text):
            return parts
        if text[position] != ":":
            raise _invalid(text, "brackets must contain an IPv6 address")
        position += 1


def _part(text: str, word: str) -> _Part:
    if word.startswith("/"):
        if len(word) == 1 or not word.isprintable():
            raise _invalid(text, f"{word!r} is not the path of a socket")
        return UnixEnd(path=word)
    if match := _PORTS.fullmatch(word):
        return _ports(text, int(match[1]), int(match[2] or match[1]))
    return _host(text, word)


def _host(text: str, word: str) -> str:
    if not word or len(word) > 255 or not word.isprintable() or " " in word or word.isdecimal():
        raise _invalid(text, f"{word!r} is neither a port nor a host")
    return word


def _ports(text: str, first: int, last: int) -> _Ports:
    if last > 65535:
        raise _invalid(text, f"{last} is not a port")
    if last < first or last - first >= RANGE_MAX or first == 0 < last:
        raise _invalid(text, f"{first}-{last} is not a range of at most {RANGE_MAX} ports")
    return first, last


def _invalid(text: str, why: str) -> InputError:
    return InputError(
        "forward_invalid",
        f"{text!r} is not a forward: {why}",
        hint="use PORT, LOCAL:REMOTE, LOCAL:HOST:REMOTE, BIND:LOCAL:HOST:REMOTE or paths",
    )
