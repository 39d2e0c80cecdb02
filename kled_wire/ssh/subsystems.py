"""The messages of the SSH subsystems `kled-session`, `kled-ports` and `kled-udp`.

Each line is a JSON object. Only the client asks:

    kled-session   {"op": "list" | "kill" | "rename" | "log", "name", "to", "bytes"}; the answer is
                   {"ok": true, ...} or {"ok": false, "error": {code, message, hint, status}}, and
                   for `log` before it any number of {"data": base64}
    kled-ports     nothing; a line now and at each change, until the client's end of input:
                   {"ports": [{"port", "addresses", "process", "pid", "mine"}]}
    kled-udp       {"host", "port"}: where the datagrams go, whose frames follow (datagrams.py)

A client asks for a named terminal by the two variables of a shell. No I/O.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

from kled_wire.errors import InputError, KledError, ProtocolError, from_shape

SESSION: Final = "kled-session"
PORTS: Final = "kled-ports"
UDP: Final = "kled-udp"
SYNC: Final = "kled-sync"  # kled_sync/wire
CLIENT_PREFIX: Final = "KLED_CLIENT_"
SESSION_VARIABLE: Final = "KLED_CLIENT_SESSION"
SESSION_MODE_VARIABLE: Final = "KLED_CLIENT_SESSION_MODE"
REQUEST_BYTES: Final = 4096
# A line holds at most one frame of output in base64; more is not ours.
ANSWER_BYTES: Final = 1024 * 1024
_EVERYWHERE: Final = frozenset({"0.0.0.0", "::", "127.0.0.1"})  # noqa: S104  # what others bind


class LineReader:
    """Takes a stream of lines apart, however it is cut; `rest` is what is no line yet."""

    def __init__(self, limit: int) -> None:
        """Lines are at most `limit` bytes."""
        self.rest = b""
        self._limit = limit

    @property
    def overlong(self) -> bool:
        """Whether what has come is more than a line may be, without its end."""
        return len(self.rest) > self._limit and b"\n" not in self.rest

    def feed(self, data: bytes) -> None:
        self.rest += data

    def next_line(self) -> bytes | None:
        """The next whole line without its end, or None."""
        line, end, rest = self.rest.partition(b"\n")
        if not end:
            return None
        self.rest = rest
        return line


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionCommand:
    """One request of `kled-session`; `bytes` None: all that is kept of the log."""

    op: str
    name: str = ""
    to: str = ""
    bytes: int | None = None


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


def encode_line(content: Mapping[str, Any]) -> bytes:
    """One object on its line."""
    return json.dumps(content, separators=(",", ":")).encode() + b"\n"


def encode_session_command(request: SessionCommand) -> bytes:
    return encode_line(asdict(request))


def decode_session_command(line: bytes) -> SessionCommand:
    """Raises InputError("session_request_invalid")."""
    try:
        asked = _object(line)
    except ValueError as exc:
        raise InputError(
            "session_request_invalid", f"the request is no JSON object: {exc}"
        ) from exc
    size = asked.get("bytes")
    return SessionCommand(
        op=str(asked.get("op")),
        name=str(asked.get("name", "")),
        to=str(asked.get("to", "")),
        bytes=size if isinstance(size, int) else None,
    )


def encode_session_error(error: KledError) -> bytes:
    shape = {"code": error.code, "message": error.message, "hint": error.hint}
    return encode_line({"ok": False, "error": {**shape, "status": error.status}})


def encode_session_data(data: bytes) -> bytes:
    return encode_line({"data": base64.b64encode(data).decode()})


def decode_session_answer(line: bytes) -> dict[str, Any]:
    """Raises the agent's error, ProtocolError("session_answer_malformed")."""
    try:
        answer = _object(line)
        if answer.get("ok", True):
            return answer
        error = from_shape(int(answer["error"]["status"]), answer["error"])
    except (ValueError, KeyError, TypeError) as exc:
        raise session_malformed("not the JSON we know") from exc
    raise error or session_malformed("not the JSON we know")


def decode_session_data(answer: Mapping[str, Any]) -> bytes:
    """A piece of a log. Raises ProtocolError("session_answer_malformed")."""
    try:
        return base64.b64decode(answer["data"], validate=True)
    except (KeyError, ValueError, TypeError) as exc:
        raise session_malformed("no data") from exc


def session_malformed(why: str) -> ProtocolError:
    """ProtocolError("session_answer_malformed")."""
    return ProtocolError("session_answer_malformed", f"the agent's answer is malformed: {why}")


def encode_ports(ports: Iterable[ReportedPort]) -> bytes:
    return encode_line({"ports": [asdict(port) for port in ports]})


def decode_ports(line: bytes) -> list[ReportedPort]:
    """Raises ProtocolError("ports_answer_malformed")."""
    try:
        ports = [_port(raw) for raw in _object(line)["ports"]]
    except (ValueError, KeyError, TypeError, AttributeError) as exc:
        raise ports_malformed("not the JSON we know") from exc
    return sorted(ports, key=lambda port: port.port)


def ports_malformed(why: str) -> ProtocolError:
    """ProtocolError("ports_answer_malformed")."""
    return ProtocolError("ports_answer_malformed", f"the agent's answer is malformed: {why}")


def encode_udp_request(host: str, port: int) -> bytes:
    return encode_line({"host": host, "port": port})


def decode_udp_request(line: bytes) -> tuple[str, int]:
    """Where the datagrams go. Raises InputError("udp_request_invalid")."""
    try:
        asked = _object(line)
        return str(asked["host"]), int(asked["port"])
    except (ValueError, KeyError, TypeError, OverflowError) as exc:
        raise InputError("udp_request_invalid", "the request is not a host and a port") from exc


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


def _object(line: bytes) -> dict[str, Any]:
    """The object on a line. Raises ValueError."""
    try:
        value = json.loads(line)
    except RecursionError as exc:
        raise ValueError("nested too deeply") from exc
    if not isinstance(value, dict):
        raise ValueError("not an object")  # noqa: TRY004  # the JSON is of another shape
    return value
