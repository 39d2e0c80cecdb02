"""A small coordinator and agent on real sockets: enough HTTP, real SSH certificates, real SSH."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import asyncssh

from tests.client.fake_agent import Agent, Paused, run_process
from tests.client.fake_streams import copy, serve_websocket
from tests.client.resumable import carry_resumable

TOKEN = "kled_goodtoken"
CODE = "kled_once_abcdef"
USER = {
    "id": "usr_1",
    "name": "alice",
    "email": None,
    "role": "member",
    "suspended": False,
    "created_at": "2026-01-01T00:00:00Z",
    "last_seen_at": None,
}
Reply = tuple[int, Any]
# A reply, or what makes one of a request's body.
Route = Reply | Callable[[bytes], Reply]


def problem(status: int, code: str, message: str, hint: str | None = None) -> Reply:
    return status, {"error": {"code": code, "message": message, "hint": hint}}


def workspace(name: str = "dev", status: str = "running") -> dict[str, Any]:
    build = {"id": "bld_1", "number": 1, "transition": "start", "status": "succeeded"}
    return {
        "id": "ws_00000000000000000001",
        "name": name,
        "owner": "alice",
        "template": "process",
        "template_version": 1,
        "status": status,
        "agent": {
            "id": "agt_1",
            "status": "connected",
            "rtt_ms": 1.5,
            "hostname": "box",
            "os": "linux",
            "arch": "x86_64",
        },
        "latest_build": build,
        "parameters": {},
        "created_at": "2026-01-01T00:00:00Z",
        "updated_at": "2026-01-01T00:00:00Z",
        "last_used_at": None,
    }


@dataclass(slots=True, kw_only=True)
class Fake:
    """Runs in a thread of its own. Change the fields to change how it behaves."""

    home: Path
    port: int = 0
    requests: list[tuple[str, str, bytes]] = field(default_factory=list)
    routes: dict[tuple[str, str], Route] = field(default_factory=dict)
    # Paths whose requests get no answer.
    held: set[str] = field(default_factory=set)
    log: list[dict[str, Any]] = field(default_factory=lambda: [{"end": {"status": "succeeded"}}])
    # What follows the 101 head at once, in the same segment.
    first: bytes = b""
    # "ssh", "echo", or a raw answer to give instead of the upgrade.
    stream: str | bytes = "echo"
    certificates: int = 0
    lifetime_s: float = 600.0
    _loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.SelectorEventLoop)
    _ca: asyncssh.SSHKey = field(
        default_factory=lambda: asyncssh.generate_private_key("ssh-ed25519")
    )
    tls: ssl.SSLContext | None = None
    host_names: tuple[str, ...] = ("dev.kled", "dev.alice.kled")
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)
    # Of sockets, whatever is spoken over them: what is above them may not have begun.
    _transports: list[asyncio.BaseTransport] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}"

    def env(self) -> dict[str, str]:
        """An environment in which nothing of the machine's own user is touched."""
        return {
            "HOME": str(self.home),
            "PATH": os.environ["PATH"],
            "KLED_KEYRING": "off",
            "LANG": "C.UTF-8",
        }

    def sign_in(self, token: str = TOKEN) -> None:
        """Write a profile as `kled login` would."""
        from kled_client.account import credentials, profile  # noqa: PLC0415

        credentials.store_token(self.env(), "default", token)
        profile.save(self.env(), profile.Profile(name="default", url=self.url, user="alice"))

    def asked(self, target: str) -> bool:
        """Whether there was a request for that path and query."""
        return any(request[1] == target for request in self.requests)

    async def serve(self, ready: Callable[[], None], stop: asyncio.Event) -> None:
        """Until `stop`; then all connections, at whatever point they are, are closed."""
        loop = asyncio.get_running_loop()
        # Not asyncio's server: closed just after it has accepted, it drops the open socket.
        with socket.create_server(("127.0.0.1", 0)) as listener:
            listener.setblocking(False)
            self.port = listener.getsockname()[1]
            loop.add_reader(listener, self._accept, listener)
            ready()
            await stop.wait()
            loop.remove_reader(listener)
        await asyncio.sleep(0)  # a task that has not begun cannot clean up
        while others := asyncio.all_tasks() - {asyncio.current_task()}:
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)
        for transport in self._transports:
            assert isinstance(transport, asyncio.WriteTransport)
            transport.abort()
        await asyncio.sleep(0)

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(BlockingIOError, ConnectionAbortedError):
            self._tasks.append(self._loop.create_task(self._handle(listener.accept()[0])))

    async def _handle(self, sock: socket.socket) -> None:
        reader = asyncio.StreamReader()
        protocol = asyncio.StreamReaderProtocol(reader)
        with contextlib.suppress(asyncio.IncompleteReadError, OSError, asyncio.CancelledError):
            transport = await self._connected(sock, protocol)
            protocol.connection_made(transport)
            writer = asyncio.StreamWriter(transport, protocol, reader, self._loop)
            try:
                while await self._one_request(reader, writer):
                    pass
            finally:
                writer.close()

    async def _connected(
        self, sock: socket.socket, protocol: asyncio.Protocol
    ) -> asyncio.WriteTransport:
        """TLS comes second, so that the transport of the socket can be closed whatever happens.

        asyncio forgets that one when a handshake is cancelled before it has begun.
        """
        transport, _ = await self._loop.connect_accepted_socket(Paused, sock)
        self._transports.append(transport)
        if self.tls is None:
            transport.set_protocol(protocol)
            transport.resume_reading()
            return transport
        secured = await self._loop.start_tls(transport, protocol, self.tls, server_side=True)
        assert secured is not None
        return secured

    async def _one_request(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        start, *lines = head.split("\r\n")
        method, target, _ = start.split(" ")
        headers = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in lines)}
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        path = target.partition("?")[0]
        self.requests.append((method, target, body))
        if method == "CONNECT":
            await self._tunnel(headers, reader, writer)
            return False
        if headers.get("upgrade") == "websocket":
            await serve_websocket(head, reader, writer)
            return False
        if headers.get("upgrade"):
            await self._upgrade(headers, reader, writer, resume="resume=1" in target)
            return False
        if path in self.held:
            await asyncio.Event().wait()  # until the fake ends
        if path.endswith("/logs"):
            text = "".join(json.dumps(item) + "\n" for item in self.log)
            status, content = 200, text.encode()
        else:
            status, answer = self._answer(method, path, headers, body)
            content = b"" if answer is None else json.dumps(answer).encode()
        date = format_datetime(datetime.now(UTC), usegmt=True)
        size = len(content)
        head = f"HTTP/1.1 {status} X\r\nDate: {date}\r\nContent-Length: {size}\r\n\r\n"
        writer.write(head.encode() + content)
        await writer.drain()
        return headers.get("connection", "").lower() != "close"

    def _answer(self, method: str, path: str, headers: dict[str, str], body: bytes) -> Reply:
        if (method, path) in self.routes:
            route = self.routes[method, path]
            return route(body) if callable(route) else route
        if path == "/api/v1/version":
            return 200, {"version": "0.1.0", "protocol": "1.0"}
        if path in {"/api/v1/auth/login", "/api/v1/auth/exchange"}:
            return self._login(json.loads(body))
        if headers.get("authorization") != f"Bearer {TOKEN}":
            return problem(401, "token_revoked", "this token was revoked", "kled login")
        if path == "/api/v1/ssh/certificates":
            return self._certify(json.loads(body)["public_key"])
        return self._resource(method, path)

    def _resource(self, method: str, path: str) -> Reply:
        known: dict[tuple[str, str], Reply] = {
            ("GET", "/api/v1/users/me"): (200, USER),
            ("POST", "/api/v1/auth/logout"): (204, None),
            ("GET", "/api/v1/workspaces"): (200, [workspace()]),
            ("POST", "/api/v1/workspaces"): (201, workspace()),
            ("GET", "/api/v1/workspaces/dev"): (200, workspace()),
            ("GET", "/api/v1/workspaces/ws_00000000000000000001"): (200, workspace()),
            ("GET", "/api/v1/workspaces/ws_00000000000000000001/wait"): (200, workspace()),
            ("POST", "/api/v1/workspaces/ws_00000000000000000001/builds"): (
                202,
                {"id": "bld_2", "transition": "stop", "status": "pending"},
            ),
            ("GET", "/api/v1/workspaces/dev/ping"): (200, {"coordinator_agent_ms": 1.25}),
            ("GET", "/api/v1/templates/process"): (200, {"active_version": 1, "versions": []}),
            ("GET", "/api/v1/templates"): (200, [{"name": "process", "active_version": 1}]),
        }
        missing = problem(404, "workspace_not_found", "there is no workspace nope", "kled list")
        return known.get((method, path), missing)

    def _login(self, body: dict[str, Any]) -> Reply:
        if body.get("code") == CODE or body.get("password") == "secret":
            return 200, {"token": TOKEN, "token_id": "tok_1", "expires_at": None, "user": USER}
        return problem(401, "code_unknown", "this code is unknown or was used", "ask for another")

    def _certify(self, public: str) -> Reply:
        self.certificates += 1
        end = datetime.now(UTC) + timedelta(seconds=self.lifetime_s)
        key = asyncssh.import_public_key(public)
        certificate = self._ca.generate_user_certificate(
            key, "alice", principals=["user:usr_1"], valid_before=end.timestamp()
        )
        return 201, {
            "certificate": certificate.export_certificate().decode(),
            "ca_public_key": self._ca.export_public_key().decode(),
            "valid_until": end.isoformat().replace("+00:00", "Z"),
            "principals": ["user:usr_1"],
        }

    async def _upgrade(
        self,
        headers: dict[str, str],
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        *,
        resume: bool,
    ) -> None:
        if isinstance(self.stream, bytes):
            writer.write(self.stream)
            await writer.drain()
            return
        if headers.get("authorization") != f"Bearer {TOKEN}":
            _, body = problem(401, "token_revoked", "this token was revoked", "kled login")
            content = json.dumps(body).encode()
            writer.write(b"HTTP/1.1 401 X\r\nContent-Length: %d\r\n\r\n" % len(content) + content)
            await writer.drain()
            return
        writer.write(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: kled-stream\r\n"
            b"Connection: Upgrade\r\n\r\n" + self.first
        )
        await writer.drain()
        if self.stream == "echo":
            await copy(reader, writer)
        elif resume:
            await self._serve_resumable(reader, writer)
        else:
            await self._serve_ssh(reader, writer)

    async def _tunnel(
        self, headers: dict[str, str], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """A proxy for whatever name is asked for: it leads back to ourselves."""
        if headers.get("proxy-authorization") != "Basic cHJveHk6c2VjcmV0":
            writer.write(b"HTTP/1.1 407 X\r\nContent-Length: 0\r\n\r\n")
            return
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.port)
        self._transports.append(far_writer.transport)
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        try:
            await asyncio.gather(copy(reader, far_writer), copy(far_reader, writer))
        finally:
            far_writer.close()

    async def _serve_resumable(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        outer, theirs = socket.socketpair()
        inner, ours = socket.socketpair()
        carrying = asyncio.create_task(asyncio.to_thread(carry_resumable, theirs, inner))
        far_reader, far_writer = await asyncio.open_connection(sock=outer)
        ssh_reader, ssh_writer = await asyncio.open_connection(sock=ours)
        serving = asyncio.create_task(self._serve_ssh(ssh_reader, ssh_writer))
        try:
            await asyncio.gather(copy(reader, far_writer), copy(far_reader, writer))
        finally:
            serving.cancel()
            far_writer.close()
            ssh_writer.close()
            await asyncio.gather(serving, carrying, return_exceptions=True)

    async def _serve_ssh(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ours, theirs = socket.socketpair()
        inner_reader, inner_writer = await asyncio.open_connection(sock=ours)
        server = asyncio.create_task(self._run_agent(theirs))
        try:
            await asyncio.gather(copy(reader, inner_writer), copy(inner_reader, writer))
        finally:
            inner_writer.close()
            server.cancel()
            await asyncio.gather(server, return_exceptions=True)

    async def _run_agent(self, theirs: socket.socket) -> None:
        host_key = asyncssh.generate_private_key("ssh-ed25519")
        certificate = self._ca.generate_host_certificate(
            host_key, "host", principals=self.host_names
        )
        connection = await asyncssh.run_server(
            theirs,
            server_factory=Agent,
            server_host_keys=[(host_key, certificate)],
            authorized_client_keys=self._authority(),
            process_factory=run_process,
            sftp_factory=lambda chan: asyncssh.SFTPServer(chan, chroot=None),
            encoding=None,
            line_editor=False,
            agent_forwarding=True,
            config=None,
        )
        try:
            await connection.wait_closed()
        finally:
            connection.abort()

    def _authority(self) -> asyncssh.SSHAuthorizedKeys:
        line = f'cert-authority,principals="user:usr_1" {self._ca.export_public_key().decode()}'
        return asyncssh.import_authorized_keys(line)


@contextlib.contextmanager
def running(home: Path, change: Callable[[Fake], None] = lambda _: None) -> Iterator[Fake]:
    """A fake coordinator that listens on 127.0.0.1 while the block runs."""
    fake = Fake(home=home)
    change(fake)
    ready = threading.Event()
    stop = asyncio.Event()

    def main() -> None:
        loop = fake._loop
        asyncio.set_event_loop(loop)
        try:
            loop.run_until_complete(fake.serve(ready.set, stop))
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.run_until_complete(loop.shutdown_default_executor())
        finally:
            loop.close()

    thread = threading.Thread(target=main)
    thread.start()
    try:
        assert ready.wait(10)
        yield fake
    finally:
        fake._loop.call_soon_threadsafe(stop.set)
        thread.join(10)
