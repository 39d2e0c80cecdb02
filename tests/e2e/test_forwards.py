"""Real OpenSSH's forwards: local, remote, dynamic, Unix sockets, the user's agent."""

from __future__ import annotations

import contextlib
import http.server
import os
import signal
import socket
import struct
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import psutil
import pytest

from tests.kit.echo import ask, echoing
from tests.kit.site import Site
from tests.kit.sockets import free_port, is_open
from tests.kit.waiting import wait_until

FORWARDS = ("-N", "-o", "ExitOnForwardFailure=yes")


@pytest.fixture
def echo_port() -> Iterator[int]:
    with echoing(("127.0.0.1", 0)) as port:
        yield port


@contextlib.contextmanager
def ssh(site: Site, *words: str, until: tuple[str, int] | str) -> Iterator[None]:
    """`ssh` with forwards, from the moment `until` can be connected to."""
    with site.running(*site.ssh_words(), *FORWARDS, *words, "dev.kled") as process:

        def ready() -> bool:
            assert process.poll() is None, f"ssh {words} ended with {process.returncode}"
            return is_open(until)

        wait_until(f"{until} is forwarded", ready)
        yield


def test_a_local_port_reaches_one_inside(site: Site, echo_port: int) -> None:
    here = ("127.0.0.1", free_port())
    with ssh(site, "-L", f"{here[1]}:127.0.0.1:{echo_port}", until=here):
        assert ask(here) == b"HELLO"
        big = os.urandom(3_000_000).hex().encode()
        assert ask(here, big) == big.upper()


def test_many_connections_share_a_forward(site: Site, echo_port: int) -> None:
    here = ("127.0.0.1", free_port())
    with ssh(site, "-L", f"{here[1]}:127.0.0.1:{echo_port}", until=here):
        links = [socket.create_connection(here, timeout=20) for _ in range(40)]
        for number, link in enumerate(links):
            link.sendall(b"n%d" % number)
            link.shutdown(socket.SHUT_WR)
        assert [link.recv(100) for link in links] == [b"N%d" % n for n in range(40)]
        for link in links:
            link.close()


def test_a_local_port_reaches_a_unix_socket_inside(site: Site, tmp_path: Path) -> None:
    path, here = str(site.root / "inside.sock"), ("127.0.0.1", free_port())
    with echoing(path), ssh(site, "-L", f"{here[1]}:{path}", until=here):
        assert ask(here) == b"HELLO"


def test_a_local_unix_socket_reaches_a_unix_socket_inside(site: Site) -> None:
    path, here = str(site.root / "a.sock"), str(site.root / "b.sock")
    with echoing(path), ssh(site, "-L", f"{here}:{path}", until=here):
        assert ask(here) == b"HELLO"


def test_a_refused_connection_is_closed_and_the_forward_lives(site: Site, echo_port: int) -> None:
    dead, live = ("127.0.0.1", free_port()), ("127.0.0.1", free_port())
    words = ["-L", f"{dead[1]}:127.0.0.1:{free_port()}", "-L", f"{live[1]}:127.0.0.1:{echo_port}"]
    with ssh(site, *words, until=live):
        with contextlib.suppress(ConnectionResetError):
            assert ask(dead) == b""
        assert ask(live) == b"HELLO"


def test_a_remote_port_reaches_one_here(site: Site, echo_port: int) -> None:
    there = ("127.0.0.1", free_port())
    with ssh(site, "-R", f"{there[1]}:127.0.0.1:{echo_port}", until=there):
        assert ask(there) == b"HELLO"
    wait_until("the listener inside is closed", lambda: not is_open(there))


def test_what_is_aborted_while_the_client_is_stopped_ends_at_its_target(site: Site) -> None:
    there = ("127.0.0.1", free_port())
    accepted: list[socket.socket] = []
    agent = site.agent("dev")
    with socket.create_server(("127.0.0.1", 0)) as target:
        threading.Thread(target=_accept_all, args=(target, accepted), daemon=True).start()
        words = ("-R", f"{there[1]}:127.0.0.1:{target.getsockname()[1]}")
        with site.running(*site.ssh_words(), *FORWARDS, *words, "dev.kled") as client:
            wait_until("the workspace listens", lambda: is_open(there))
            wait_until("the probe came through", lambda: len(accepted) == 1)
            client.send_signal(signal.SIGSTOP)
            links = [socket.create_connection(there) for _ in range(10)]
            wait_until("the agent has accepted them", lambda: count(agent, there[1]) == 11)
            for link in links:
                link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                link.close()
            client.send_signal(signal.SIGCONT)
            wait_until("all came through", lambda: len(accepted) == 11)
            for link in accepted:
                with link:
                    link.settimeout(20)
                    assert link.recv(1) == b""
            wait_until("the agent has closed them", lambda: count(agent, there[1]) == 0)


def count(process: psutil.Process, port: int) -> int:
    """How many connections to its `port` a process holds."""
    found = (one for one in process.net_connections("tcp") if one.laddr.port == port)
    return sum(bool(one.raddr) for one in found)


def _accept_all(listener: socket.socket, accepted: list[socket.socket]) -> None:
    with contextlib.suppress(OSError):
        while True:
            accepted.append(listener.accept()[0])


def test_a_remote_unix_socket_reaches_one_here(site: Site, echo_port: int) -> None:
    there = str(site.root / "remote.sock")
    with ssh(site, "-R", f"{there}:127.0.0.1:{echo_port}", until=there):
        assert ask(there) == b"HELLO"


def test_socks_reaches_what_the_workspace_reaches(site: Site, tmp_path: Path) -> None:
    (tmp_path / "page").write_text("found")

    handler = partial(http.server.SimpleHTTPRequestHandler, directory=str(tmp_path))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    here = ("127.0.0.1", free_port())
    try:
        with ssh(site, "-D", str(here[1]), until=here):
            for scheme in ("socks5h", "socks4a"):
                url = f"http://localhost:{server.server_port}/page"
                done = site.run("curl", "-sSf", "--proxy", f"{scheme}://127.0.0.1:{here[1]}", url)
                assert done.stdout == "found"
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture
def agent(site: Site) -> Iterator[dict[str, str]]:
    """An ssh-agent with one key."""
    path = str(site.root / "agent.sock")
    env = {"SSH_AUTH_SOCK": path}
    with site.running("ssh-agent", "-D", "-a", path):
        wait_until("the agent listens", lambda: is_open(path))
        key = site.root / "agent_key"
        site.run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "my-key", "-f", key)
        site.run("ssh-add", "-q", key, env=env)
        yield env
    for leftover in site.root.glob("agent*"):
        leftover.unlink()


def test_the_users_agent_is_there_inside(site: Site, host: str, agent: dict[str, str]) -> None:
    assert "my-key" in site.ssh("-A", host, "ssh-add -L", env=agent).stdout
    assert "my-key" in site.kled("ssh", "-A", "dev", "ssh-add -L", env=agent).stdout
    without = site.ssh("-a", host, "echo <$SSH_AUTH_SOCK>".replace("<", "'<'").replace(">", "'>'"))
    assert without.stdout == "<>\n"
