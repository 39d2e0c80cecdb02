"""Decides from one request head which plane gets the connection. No I/O."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from typing import Final
from urllib.parse import parse_qs, unquote

from kled_wire.errors import InputError, ProtocolError, UpgradeRequiredError
from kled_wire.http.heads import STREAM_PROTOCOL
from kled_wire.http.upgrade import RequestHead
from kled_wire.names import WorkspaceRef, parse_workspace_ref

CONTROL_PATH: Final = "/api/v1/agent/control"
AGENT_STREAM_PATH: Final = "/api/v1/agent/stream"
BUNDLES_PATH: Final = "/bin/"
_WORKSPACES: Final = "/api/v1/workspaces/"
_STREAM: Final = "/stream"
_WEBSOCKET: Final = "websocket"
_KINDS: Final = ("ssh", "tcp")
_PORT_MAX: Final = 65535
_PORT: Final = re.compile(r"[0-9]{1,5}")


class Plane(Enum):
    """The plane that serves a connection."""

    API = "api"
    CONTROL = "control"
    AGENT_STREAM = "agent_stream"
    CLIENT_STREAM = "client_stream"
    BUNDLES = "bundles"


class Carrier(Enum):
    """How a stream's bytes travel."""

    RAW = STREAM_PROTOCOL
    WEBSOCKET = _WEBSOCKET


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamTarget:
    """What a client's stream leads to: `kind` "ssh", or "tcp" with a port of the workspace.

    With `resume` the two ends speak kled_wire/resume inside the stream.
    """

    ref: WorkspaceRef
    kind: str
    host: str = ""
    port: int = 0
    resume: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """Where a connection goes. `target` is set for CLIENT_STREAM only."""

    plane: Plane
    carrier: Carrier = Carrier.RAW
    target: StreamTarget | None = None


def decide_route(head: RequestHead) -> Route:
    """Decide by path and upgrade.

    Raises ProtocolError("upgrade_with_body"), UpgradeRequiredError, InputError.
    """
    plane = _plane(head.path)
    if plane is Plane.BUNDLES and (head.method not in ("GET", "HEAD") or head.has_body):
        plane = Plane.API  # it says what is wrong with that
    if plane is Plane.API or plane is Plane.BUNDLES:
        return Route(plane=plane)
    if head.method != "GET" or head.has_body:
        raise ProtocolError("upgrade_with_body", "an upgrade is a GET without a body")
    wanted = [c.value for c in ((Carrier.WEBSOCKET,) if plane is Plane.CONTROL else Carrier)]
    if head.upgrade not in wanted:
        raise UpgradeRequiredError(
            "upgrade_required", f"{head.path} requires Upgrade: {' or '.join(wanted)}"
        )
    target = _target(head) if plane is Plane.CLIENT_STREAM else None
    return Route(plane=plane, carrier=Carrier(head.upgrade), target=target)


def bearer(head: RequestHead, scheme: str) -> str:
    """The credentials of `scheme` ("Bearer", "Kled-Ticket"), or "" when there are none."""
    found, _, value = head.headers.get("authorization", "").partition(" ")
    return value.strip() if found.lower() == scheme.lower() else ""


def _plane(path: str) -> Plane:
    if path == CONTROL_PATH:
        return Plane.CONTROL
    if path == AGENT_STREAM_PATH:
        return Plane.AGENT_STREAM
    if path.startswith(_WORKSPACES) and path.endswith(_STREAM):
        return Plane.CLIENT_STREAM
    if path.startswith(BUNDLES_PATH):
        return Plane.BUNDLES
    return Plane.API


def _target(head: RequestHead) -> StreamTarget:
    ref = parse_workspace_ref(unquote(head.path[len(_WORKSPACES) : -len(_STREAM)]))
    query = _query(head.target.partition("?")[2])
    kind = query.get("kind", ["ssh"])[0]
    if kind not in _KINDS:
        raise InputError("kind_unknown", f"unknown kind of stream {kind[:20]!r}", hint="ssh or tcp")
    resume = query.get("resume", ["0"])[0] == "1"
    if kind == "ssh":
        return StreamTarget(ref=ref, kind=kind, resume=resume)
    port = query.get("port", [""])[0]
    if _PORT.fullmatch(port) is None or not 0 < int(port) <= _PORT_MAX:
        raise InputError("port_invalid", f"{port[:20]!r} is not a port")
    return StreamTarget(ref=ref, kind=kind, host="localhost", port=int(port), resume=resume)


def _query(text: str) -> dict[str, list[str]]:
    try:
        return parse_qs(text, max_num_fields=8)
    except ValueError as exc:
        raise InputError("query_invalid", f"the query is malformed: {exc}") from exc
