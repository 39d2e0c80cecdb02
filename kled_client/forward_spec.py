"""What `kled forward` is asked for, e.g. `8080`, `8080:3000`, `127.0.0.1:8080:db:5432`.

The grammar of `ssh -L`, shortened where a part has an obvious value. IPv6 in brackets.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from kled_wire.errors import InputError

LOOPBACK = "127.0.0.1"
_PART = re.compile(r"\[([0-9A-Fa-f:.%a-z]*)\]|([^:\[\]]*)")


@dataclass(frozen=True, slots=True, kw_only=True)
class ForwardSpec:
    """Listen on `bind`:`local` here, connect to `host`:`remote` as seen from the workspace.

    `local` 0 lets the system choose a free port.
    """

    bind: str = LOOPBACK
    local: int
    host: str = "localhost"
    remote: int

    def __str__(self) -> str:
        """The full form, which parses to the same."""
        return f"{_bracket(self.bind)}:{self.local}:{_bracket(self.host)}:{self.remote}"


def parse_forward(text: str) -> ForwardSpec:
    """Raises InputError("forward_invalid")."""
    parts = _split(text)
    match parts:
        case [port]:
            return ForwardSpec(local=_port(text, port), remote=_port(text, port))
        case [local, remote]:
            return ForwardSpec(local=_port(text, local, zero=True), remote=_port(text, remote))
        case [local, host, remote] if local.isdecimal() and host and not host.isdecimal():
            return ForwardSpec(
                local=_port(text, local, zero=True), host=host, remote=_port(text, remote)
            )
        case [bind, local, remote] if bind:
            return ForwardSpec(
                bind=bind, local=_port(text, local, zero=True), remote=_port(text, remote)
            )
        case [bind, local, host, remote] if bind and host:
            return ForwardSpec(
                bind=bind,
                local=_port(text, local, zero=True),
                host=host,
                remote=_port(text, remote),
            )
    raise _invalid(text, "it has the wrong number of parts, or an empty one")


def _split(text: str) -> list[str]:
    parts: list[str] = []
    position = 0
    while True:
        match = _PART.match(text, position)
        assert match is not None  # the pattern matches the empty string
        parts.append(match[1] if match[1] is not None else match[2])
        position = match.end()
        if position == len(text):
            return parts
        if text[position] != ":":
            raise _invalid(text, "brackets hold an IPv6 address and nothing else")
        position += 1


def _port(text: str, word: str, *, zero: bool = False) -> int:
    if not (word.isascii() and word.isdecimal() and len(word) <= 5 and int(word) < 65536):
        raise _invalid(text, f"{word!r} is not a port")
    if int(word) == 0 and not zero:
        raise _invalid(text, "port 0 can only be the local one")
    return int(word)


def _bracket(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _invalid(text: str, why: str) -> InputError:
    return InputError(
        "forward_invalid",
        f"{text!r} is not a forward: {why}",
        hint="use PORT, LOCAL:REMOTE, LOCAL:HOST:REMOTE or BIND:LOCAL:HOST:REMOTE",
    )
