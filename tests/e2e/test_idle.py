"""A session on which nothing is said outlasts the time-outs of the proxies on its way.

Idle time is counted in time-outs: beside the sessions runs a stream without keepalive, and each
time all the proxies have cut theirs, another one is opened. By default the time-outs are short.
`KLED_IDLE_MINUTES=10 python -m pytest tests/e2e/test_idle.py` takes nginx's own, of 60 s.
"""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.kit.deployments import behind_nginx, behind_websockets_only, through_forward_proxy
from tests.kit.nginx import Nginx
from tests.kit.proxy import Proxy, join
from tests.kit.site import BIN, Site
from tests.kit.sockets import free_port
from tests.kit.thread_server import serving_in_threads
from tests.kit.waiting import wait_until

_MINUTES = int(os.environ.get("KLED_IDLE_MINUTES", "0"))
# More than twice a PING of the resumable layer, which comes after 5 s, less than the heartbeat of
# control links would forgive: nginx has one time-out for all.
_SHORT_S = 17
TIMEOUT_S = 60 if _MINUTES else _SHORT_S
TIMES = _MINUTES or 2
_NGINX = "" if _MINUTES else f"proxy_read_timeout {_SHORT_S}s; proxy_send_timeout {_SHORT_S}s;"
_NGINX += "" if _MINUTES else f"keepalive_timeout {_SHORT_S}s; client_body_timeout {_SHORT_S}s;"


@pytest.fixture
def echo_port() -> Iterator[int]:
    """A port of the workspace's machine that answers at once with what it gets."""
    with serving_in_threads(("127.0.0.1", 0), lambda link: join(link, link)) as port:
        yield port


@dataclass(frozen=True, kw_only=True)
class Sessions:
    """One of each kind over one deployment."""

    site: Site
    proxy: Proxy | Nginx
    programs: dict[str, subprocess.Popen[bytes]]
    forwarded: socket.socket

    def check(self, word: bytes) -> None:
        """A line there and back through each of them."""
        for name, program in self.programs.items():
            assert program.stdin is not None
            assert program.stdout is not None
            program.stdin.write(word + b"\n")
            assert program.stdout.readline() == word + b"\n", name
        self.forwarded.sendall(word)
        assert self.forwarded.recv(len(word), socket.MSG_WAITALL) == word

    def cuts(self) -> int:
        """How often the proxy has cut something."""
        return len(self.proxy.cuts() if isinstance(self.proxy, Nginx) else self.proxy.cut)

    def streams_ended(self) -> int:
        """How many connections of streams have ended; one that is resumed has ended too."""
        return self.site.log.read_text().count("stream_ended")

    def links_lost(self) -> int:
        """How often the agent's control link was lost."""
        return self.site.log.read_text().count("agent_disconnected")


@contextlib.contextmanager
def sessions_over(site: Site, proxy: Proxy | Nginx, echo_port: int) -> Iterator[Sessions]:
    """Open them."""
    site.kled("create", "dev", "--template", "process")
    tcp: list[str | Path] = [
        BIN / "kled",
        "stream",
        "--kind",
        "tcp",
        "--port",
        str(echo_port),
        "dev",
    ]
    argv: dict[str, list[str | Path]] = {
        "ssh": [*site.ssh_words(), "dev.kled", "cat"],
        "kled exec": [BIN / "kled", "exec", "dev", "--", "cat"],
        "kled stream": tcp,
    }
    port = free_port()
    with contextlib.ExitStack() as stack:
        programs = {
            name: stack.enter_context(site.running(*words, stdin=subprocess.PIPE, bufsize=0))
            for name, words in argv.items()
        }
        forward: list[str | Path] = [BIN / "kled", "forward", "dev", f"{port}:{echo_port}"]
        stack.enter_context(site.running(*forward, stdout=subprocess.DEVNULL))
        wait_until("the forward listens", lambda: connects(port))
        forwarded = stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=60))
        yield Sessions(site=site, proxy=proxy, programs=programs, forwarded=forwarded)


def connects(port: int) -> bool:
    with contextlib.suppress(OSError):
        socket.create_connection(("127.0.0.1", port)).close()
        return True
    return False


def idle_until_cut(sites: list[Site], port: int) -> None:
    """Streams without a keepalive over each deployment, until each proxy has had enough."""
    words = ["stream", "--resume", "never", "--kind", "tcp", "--port", str(port), "dev"]
    with contextlib.ExitStack() as stack:
        secured = [
            stack.enter_context(bare_over_tls(site, port))
            for site in sites
            if site.url.startswith("https:")
        ]
        for bare in [
            stack.enter_context(site.running(BIN / "kled", *words, stdin=subprocess.PIPE))
            for site in sites
            if site.url.startswith("http:")
        ]:
            assert bare.stdout is not None
            # It ends with an error where a WebSocket shows the cut, else as if it were over.
            assert bare.stdout.read() == b""
        for stream in secured:
            with contextlib.suppress(ssl.SSLError):
                assert stream.recv(1) == b""


@contextlib.contextmanager
def bare_over_tls(site: Site, port: int) -> Iterator[ssl.SSLSocket]:
    """A stream that cannot resume, which `kled stream` has not over TLS."""
    endpoint = urlsplit(site.url)
    context = ssl.create_default_context(cafile=site.env["SSL_CERT_FILE"])
    token = site.ask("token", "create", "bare")["token"]
    head = (
        f"GET /api/v1/workspaces/dev/stream?kind=tcp&port={port} HTTP/1.1\r\n"
        f"Host: {endpoint.netloc}\r\nConnection: Upgrade\r\nUpgrade: kled-stream\r\n"
        f"Authorization: Bearer {token}\r\n\r\n"
    )
    with (
        socket.create_connection((endpoint.hostname, endpoint.port), TIMEOUT_S + 20) as raw,
        context.wrap_socket(raw, server_hostname=endpoint.hostname) as stream,
    ):
        stream.sendall(head.encode())
        answer = b""
        while b"\r\n\r\n" not in answer:
            part = stream.recv(4096)
            assert part, answer
            answer += part
        assert answer.startswith(b"HTTP/1.1 101 ")
        yield stream


@pytest.mark.timeout(TIMES * (TIMEOUT_S + 15) + 120)
def test_idle_sessions_outlast_every_proxy(tmp_path: Path, echo_port: int) -> None:
    idle_s = float(TIMEOUT_S)
    with contextlib.ExitStack() as stack:
        deployments: list[tuple[Site, Proxy | Nginx]] = [
            stack.enter_context(behind_nginx(tmp_path, more=_NGINX)),
            stack.enter_context(behind_websockets_only(idle_s=idle_s)),
            stack.enter_context(through_forward_proxy(tmp_path, idle_s=idle_s)),
        ]
        every = [stack.enter_context(sessions_over(*each, echo_port)) for each in deployments]
        for sessions in every:
            sessions.check(b"before")
        before = [(sessions.cuts(), sessions.streams_ended()) for sessions in every]
        for _ in range(TIMES):
            idle_until_cut([site for site, _ in deployments], echo_port)
        for sessions in every:
            sessions.check(b"after")
        for sessions, (cuts, ended) in zip(every, before, strict=True):
            # Only what has no keepalive was cut: nothing had to be resumed, no link dialled again.
            assert sessions.cuts() - cuts >= TIMES
            assert sessions.streams_ended() - ended == TIMES
            assert sessions.links_lost() == 0
