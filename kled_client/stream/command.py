"""`kled stream WS`: the byte stream ssh's ProxyCommand wants, started as fast as Python can.

Only the standard library is loaded, and little of it, because ssh runs this for every
connection. Where a proxy strips our upgrade, `websocket.py` brings Trio and WebSockets.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Mapping
from typing import NamedTuple

from kled_client.account import http
from kled_client.account.certificate import ensure_certificate
from kled_client.account.credentials import load_token
from kled_client.account.endpoint import proxy_for
from kled_client.account.profile import Profile, load
from kled_wire.errors import InputError, KledError, UnavailableError
from kled_wire.http.heads import UPGRADE, decode_refusal
from kled_wire.transport.address import Address, parse_url

_USAGE = (
    "usage: kled stream [--kind ssh | --kind tcp --port N] [--fdpass] [--resume auto|always|never] "
    "[--direct auto|never] [--profile NAME] [--listen ADDR:PORT] WORKSPACE"
)
_RESUME = ("auto", "always", "never")
_DIRECT = ("auto", "never")
_PLAIN_REF = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-._")


class Request(NamedTuple):
    """What was asked for on the command line."""

    workspace: str
    kind: str = "ssh"
    port: int = 0
    fdpass: bool = False
    resume: str = "auto"
    direct: str = "auto"
    profile: str | None = None


def main(arguments: list[str]) -> int:
    """Run `kled stream` with the words after `stream`. Raises KledError."""
    run(parse_arguments(arguments), os.environ)
    return 0


def parse_arguments(arguments: list[str]) -> Request:
    """Raises InputError("usage")."""
    request = Request(workspace="")
    words = iter(arguments)
    for word in words:
        name, equals, value = word.partition("=")
        if word == "--fdpass":
            request = request._replace(fdpass=True)
        elif name in {"--kind", "--port", "--profile", "--resume", "--direct"}:
            value = value if equals else next(words, "")
            if not value:
                raise InputError("usage", f"{name} needs a value", hint=_USAGE)
            request = _with_option(request, name, value)
        elif word.startswith("-") or request.workspace:
            raise InputError("usage", f"unknown argument of kled stream: {word!r}", hint=_USAGE)
        else:
            request = request._replace(workspace=word)
    if not request.workspace:
        raise InputError("usage", "kled stream needs a workspace", hint=_USAGE)
    if not request.kind.isalnum() or not request.kind.isascii():
        raise InputError("usage", f"{request.kind!r} is not a kind of stream", hint=_USAGE)
    return request


def _with_option(request: Request, name: str, value: str) -> Request:
    match name:
        case "--kind":
            return request._replace(kind=value)
        case "--profile":
            return request._replace(profile=value)
        case "--resume" if value in _RESUME:
            return request._replace(resume=value)
        case "--direct" if value in _DIRECT:
            return request._replace(direct=value)
        case "--resume" | "--direct":
            raise InputError("usage", f"{name} cannot be {value!r}", hint=_USAGE)
    is_port = value.isascii() and value.isdecimal() and len(value) <= 5 and 0 < int(value) < 65536
    if not is_port:
        raise InputError("usage", f"{value!r} is not a port", hint=_USAGE)
    return request._replace(port=int(value))


def stream_path(workspace: str, kind: str, port: int = 0) -> str:
    """The path to ask for. Raises InputError("name_invalid") and InputError("usage")."""
    if (kind == "tcp") != bool(port):
        raise InputError("usage", "--kind tcp and --port N need each other", hint=_USAGE)
    ref = workspace.removesuffix(".kled")
    if not ref or not _PLAIN_REF.issuperset(ref):
        # OWNER/NAME, ids and mistakes: worth the 15 ms of the real grammar.
        from kled_wire.names import parse_workspace_ref

        ref = str(parse_workspace_ref(workspace))
    path = f"/api/v1/workspaces/{ref}/stream?kind={kind}"
    return f"{path}&port={port}" if port else path


def run(request: Request, env: Mapping[str, str]) -> None:
    """Open the stream and carry it, or hand it over.

    Raises KledError, of which an SSH client has been told in its own protocol, and SystemExit where
    nobody else needs to hear of it.
    """
    if request.fdpass:
        from kled_client.stream.fdpass import takes_descriptor

        # Not so where a program reads ssh's configuration that knows no ProxyUseFdpass.
        given = takes_descriptor(sys.stdin.fileno(), sys.stdout.fileno())
        request = request._replace(fdpass=given)
    try:
        _run(request, env)
    except KledError as exc:
        _tell_ssh(request, exc)
        raise


def _tell_ssh(request: Request, error: KledError) -> None:
    """Raises SystemExit after ssh has been told what is wrong."""
    from kled_client.stream.refusal import refuse_socket, refuse_stdio  # rare

    if request.fdpass:
        from kled_client.stream.fdpass import pass_through_child

        pass_through_child(sys.stdout.fileno(), lambda local: refuse_socket(local, error))
        raise SystemExit(error.exit_code)
    if request.kind == "ssh":
        refuse_stdio(error)


def _run(request: Request, env: Mapping[str, str]) -> None:
    path = stream_path(request.workspace, request.kind, request.port)
    profile = load(env, request.profile)
    token = load_token(env, profile)
    if request.direct == "never":
        env = {**env, "KLED_DIRECT": "off"}
    resumable = is_resumable(request, parse_url(profile.url))
    if request.kind == "ssh":
        ensure_certificate(env, profile, token)
    wanted = f"{path}&resume=1" if resumable else path
    try:
        sock, first = open_stream(env, profile, token, wanted)
    except UnavailableError as exc:
        if exc.code != "upgrade_refused":
            raise
        from kled_client.stream import websocket  # Trio, only when it must be

        # Something stands between, even on this machine, and it may end what is idle.
        wanted = path if request.resume == "never" else f"{path}&resume=1"
        websocket.run(profile, token, wanted, env, fdpass=request.fdpass)
        return
    with sock:
        if resumable:
            _resume(request, env, profile, wanted, (sock, first))
        elif request.fdpass:
            _hand_over(sock, first)
        else:
            from kled_client.stream.stdio import pump_stdio

            pump_stdio(sock, sys.stdin.fileno(), sys.stdout.fileno(), first=first)


def is_resumable(request: Request, address: Address) -> bool:
    """Whether the stream outlives its connections, and its end has a reason.

    SSH gives its own reasons; other streams learn only so that nobody listens. Raises
    InputError("usage"): over TLS each does, as a half-close there could lose what still comes.
    """
    if request.resume == "never" and address.tls:
        raise InputError(
            "usage",
            f"--resume never cannot be used over TLS, and {address.authority} is reached by it",
            hint="leave --resume out",
        )
    if request.resume != "auto":
        return request.resume == "always"
    return request.kind != "ssh" or not is_plain_and_here(address)


def is_plain_and_here(address: Address) -> bool:
    """Whether the coordinator is on this machine, where no network comes and goes, without TLS.

    The pump that makes a stream resumable costs a keystroke another tenth of a millisecond, which
    is nothing on a network and would be half of it here.
    """
    here = address.host in {"localhost", "::1"} or address.host.startswith("127.")
    return here and not address.tls


def open_stream(
    env: Mapping[str, str], profile: Profile, token: str, path: str
) -> tuple[socket.socket, bytes]:
    """The upgraded connection and what was read past the head.

    Raises UnavailableError("upgrade_refused") where the upgrade did not get through, and what the
    coordinator says.
    """
    address = parse_url(profile.url)
    sock = http.connect(address, proxy_for(address, env), ca_file=profile.ca_file)
    try:
        first = _upgrade(sock, address, f"GET {path}", token)
        sock.settimeout(None)
        return sock, first
    except BaseException:
        sock.close()
        raise


def _upgrade(sock: socket.socket, address: Address, start: str, token: str) -> bytes:
    """Ask for the stream; the bytes read past the head."""
    http.send_request(sock, address, start, {**UPGRADE, "Authorization": f"Bearer {token}"})
    answer = http.read_answer(sock, address.authority)
    if not answer.head.accepts():
        body = http.read_body(sock, answer, address.authority)
        raise decode_refusal(answer.head.status, body)
    return answer.rest


def _resume(
    request: Request,
    env: Mapping[str, str],
    profile: Profile,
    path: str,
    opened: tuple[socket.socket, bytes],
) -> None:
    """Leave a pump beside ssh, or be one, that outlives the connections it uses."""
    from kled_client.account.direct import make_paths
    from kled_client.stream.resume import Pump, Transport

    def dial() -> Transport:
        # Read anew: the token may have been renewed since.
        renewed = load(env, request.profile)
        return Transport(*open_stream(env, renewed, load_token(env, renewed), path))

    paths = make_paths(env, profile)

    def work(local: socket.socket) -> None:
        Pump(local, dial, paths).run(Transport(*opened))

    if request.fdpass:
        from kled_client.stream import fdpass

        fdpass.pass_through_child(sys.stdout.fileno(), work)
        return
    from kled_client.stream.stdio import pump_beside

    pump_beside(work)


def _hand_over(sock: socket.socket, first: bytes) -> None:
    """Give ssh the connection itself; where bytes were read past the head, a pump between."""
    from kled_client.stream import fdpass  # only one of the two is needed

    if not first:
        fdpass.pass_descriptor(sys.stdout.fileno(), sock)
        return
    from kled_client.stream.stdio import pump_stdio

    def join(local: socket.socket) -> None:
        pump_stdio(sock, local.fileno(), os.dup(local.fileno()), first=first)

    fdpass.pass_through_child(sys.stdout.fileno(), join)
