"""What listens in the workspace: the asking side of the SSH subsystem `kled-ports`.

The agent writes one line of JSON when the channel opens and another whenever something changes,
until our end of input: {"ports": [{"port", "addresses", "process", "pid", "mine"}]}.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kled_wire.errors import ProtocolError

if TYPE_CHECKING:
    from kled_client.ssh.channel import Channel

SUBSYSTEM = "kled-ports"
LINE_BYTES = 1024 * 1024
_EVERYWHERE = frozenset({"0.0.0.0", "::", "127.0.0.1"})  # noqa: S104  # what others bind


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportedPort:
    """One TCP port; `process` is "" where the agent may not know, `mine` the workspace user's."""

    port: int
    addresses: tuple[str, ...]
    process: str
    pid: int | None
    mine: bool

    @property
    def host(self) -> str:
        """What to connect to from inside."""
        for address in self.addresses:
            if address in _EVERYWHERE:
                return "localhost"
        return self.addresses[0]


def parse_ports(line: bytes) -> list[ReportedPort]:
    """Raises ProtocolError("ports_answer_malformed")."""
    try:
        ports = [_port(raw) for raw in json.loads(line)["ports"]]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as exc:
        raise _malformed("not the JSON we know") from exc
    return sorted(ports, key=lambda port: port.port)


def _port(raw: dict[str, Any]) -> ReportedPort:
    port, pid, addresses = raw["port"], raw.get("pid"), tuple(map(str, raw["addresses"]))
    if not isinstance(port, int) or not 0 < port < 65536 or not addresses:
        raise ValueError(port)
    return ReportedPort(
        port=port,
        addresses=addresses,
        process=str(raw.get("process") or ""),
        pid=pid if isinstance(pid, int) else None,
        mine=raw.get("mine") is True,
    )


async def watch_ports(channel: Channel) -> AsyncGenerator[list[ReportedPort], None]:
    """What listens now, and again at each change. Raises as `parse_ports`."""
    held = b""
    try:
        while (received := await channel.receive()) is not None:
            data, is_stderr = received
            if is_stderr:
                continue
            held += data
            *lines, held = held.split(b"\n")
            for line in lines:
                yield parse_ports(line)
            if len(held) > LINE_BYTES:
                raise _malformed("a line is too long")
    finally:
        channel.close()


def _malformed(why: str) -> ProtocolError:
    return ProtocolError("ports_answer_malformed", f"the agent's answer is malformed: {why}")
