"""`kled forward`, `kled ports` and `kled up` against the real agent."""

from __future__ import annotations

import contextlib
import http.server
import json
import os
import queue
import resource
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.kit.echo import ask, echoing
from tests.kit.site import BIN, Site
from tests.kit.sockets import free_port
from tests.kit.waiting import wait_until


@pytest.fixture
def echo_port() -> Iterator[int]:
    with echoing(("127.0.0.1", free_port())) as port:
        yield port


class Running:
    """A command that says on lines of JSON what happens."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process
        self._events: queue.Queue[dict[str, Any]] = queue.Queue()
        self.seen: list[dict[str, Any]] = []
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._events.put(json.loads(line))

    def wait(self, event: str, **fields: object) -> dict[str, Any]:
        """The next event like that; those before it are in `seen`."""
        while True:
            try:
                found = self._events.get(timeout=30)
            except queue.Empty:
                raise AssertionError(f"no {event} {fields} after {self.seen}") from None
            self.seen.append(found)
            if found["event"] == event and all(found.get(k) == v for k, v in fields.items()):
                return found


@contextlib.contextmanager
def running(site: Site, *words: str | Path, **options: Any) -> Iterator[Running]:
    with site.running(BIN / "kled", "-o", "json", *words, **options) as process:
        yield Running(process)


def port_of(event: dict[str, Any]) -> int:
    return int(event["listen"].rpartition(":")[2])


def test_ports_ranges_and_sockets(site: Site, tmp_path: Path, echo_port: int) -> None:
    there, here, again = (str(site.root / f"{name}.sock") for name in ("f1", "f2", "f3"))
    with echoing(there), running(
        site, "forward", "dev", f"0:{echo_port}", f"0:{echo_port}-{echo_port + 1}",
        f"{here}:{there}", f"{again}:localhost:{echo_port}",
    ) as forward:  # fmt: skip
        first, low, high = (forward.wait("listening") for _ in range(3))
        forward.wait("forwarding")
        for event in (first, low):
            assert ask(("127.0.0.1", port_of(event))) == b"HELLO"
        with contextlib.suppress(ConnectionResetError):
            assert ask(("127.0.0.1", port_of(high))) == b""
        big = os.urandom(3_000_000).hex().encode()
        assert ask(("127.0.0.1", port_of(first)), big) == big.upper()
        assert ask(here) == ask(again) == b"HELLO"
        assert Path(here).stat().st_mode & 0o777 == 0o600
        counted = forward.wait("counters", listen=first["listen"])
        assert counted["connections_total"] == 2
        assert counted["sent_bytes"] == counted["received_bytes"] == len(big) + 5
        failed = forward.wait("counters", listen=high["listen"])
        assert failed["errors"] == 1
        assert f"cannot connect to localhost:{echo_port + 1}" in failed["last_error"]
        forward.process.send_signal(signal.SIGINT)
        assert forward.process.wait(20) == 130
    assert not Path(here).exists()


@pytest.fixture
def many_files() -> Iterator[None]:
    """As many descriptors as this machine lets us have: both ends of a thousand connections."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (before[1], before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.mark.usefixtures("many_files")
def test_a_thousand_connections_at_once(site: Site, echo_port: int) -> None:
    with running(site, "forward", "dev", f"0:{echo_port}") as forward:
        address = ("127.0.0.1", port_of(forward.wait("listening")))
        with contextlib.ExitStack() as stack:
            links = []
            for number in range(1000):
                links.append(stack.enter_context(socket.create_connection(address, timeout=60)))
                links[-1].sendall(b"n%d" % number)
            for link in links:
                link.shutdown(socket.SHUT_WR)
            assert [link.recv(100) for link in links] == [b"N%d" % n for n in range(1000)]


def test_a_port_in_use_is_named(site: Site, echo_port: int) -> None:
    busy = site.kled("forward", "dev", f"{echo_port}:3000", check=False)
    assert busy.returncode == 5
    assert f"127.0.0.1:{echo_port} is in use" in busy.stderr
    assert "0:localhost:3000" in busy.stderr


def test_the_workspace_listens_too(site: Site, echo_port: int) -> None:
    there, path = free_port(), str(site.root / "f4.sock")
    words = ("--remote", f"{there}:{echo_port}", "--remote", f"{path}:localhost:{echo_port}")
    with running(site, "forward", "dev", *words) as forward:
        forward.wait("listening", listen=f"127.0.0.1:{there}")
        forward.wait("listening", listen=path)
        assert ask(("127.0.0.1", there)) == b"HELLO"
        assert ask(path) == b"HELLO"
        taken = site.kled("forward", "dev", "--remote", f"{there}:{echo_port}", check=False)
        assert taken.returncode == 5
        assert f"does not listen on 127.0.0.1:{there}: Address already in use" in taken.stderr
        taken = site.kled("forward", "dev", "--remote", f"/no/where:{echo_port}", check=False)
        assert "does not listen on /no/where: No such file or directory" in taken.stderr


@pytest.fixture
def page(tmp_path: Path) -> Iterator[str]:
    """The address of a page inside that says `found`."""
    (tmp_path / "page").write_text("found")

    handler = partial(http.server.SimpleHTTPRequestHandler, directory=str(tmp_path))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://localhost:{server.server_port}/page"
    server.shutdown()
    server.server_close()


def test_a_browser_sees_what_the_workspace_sees(site: Site, page: str) -> None:
    with running(site, "forward", "dev", "--dynamic", "0") as forward:
        proxy = forward.wait("listening")["listen"]
        done = site.run("curl", "-sSf", "--socks5-hostname", proxy, page)
        assert done.stdout == "found"
        nowhere = f"http://127.0.0.1:{free_port()}/"
        refused = site.run("curl", "-sS", "--socks5", proxy, nowhere, check=False)
        assert refused.returncode == 97


def test_a_restarted_agent_is_found_again(site: Site, echo_port: int) -> None:
    there = free_port()
    words = (f"0:{echo_port}", "--remote", f"{there}:{echo_port}")
    with running(site, "forward", "dev", *words) as forward:
        here = ("127.0.0.1", port_of(forward.wait("listening", kind="local")))
        assert ask(here) == b"HELLO"
        site.kled("stop", "dev")
        site.kled("start", "dev")
        forward.wait("connected")
        assert ask(here) == b"HELLO"
        wait_until("the workspace listens again", lambda: ask(("127.0.0.1", there)) == b"HELLO")


def test_what_listens_is_listed(site: Site, echo_port: int) -> None:
    (found,) = [p for p in site.ask("ports", "dev") if p["port"] == echo_port]
    assert found["addresses"] == ["127.0.0.1"]
    assert (found["pid"], found["mine"]) == (os.getpid(), True)
    assert str(echo_port) in site.kled("ports", "dev").stdout


def test_ports_come_and_go_by_themselves(site: Site) -> None:
    with running(site, "forward", "dev", "--auto") as forward:
        with echoing(("127.0.0.1", 0)) as port:
            found = forward.wait("listening", target=f"localhost:{port}")
            # The workspace is this machine: the same number is taken here.
            assert port_of(found) != port
            assert ask(("127.0.0.1", port_of(found))) == b"HELLO"
        forward.wait("closed", target=f"localhost:{port}")


def test_datagrams_come_and_go(site: Site) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as target:
        target.bind(("127.0.0.1", 0))
        target.settimeout(20)
        there = target.getsockname()[1]
        with running(site, "forward", "dev", "--udp", f"0:{there}") as forward, (
            contextlib.ExitStack()
        ) as stack:  # fmt: skip
            here = ("127.0.0.1", port_of(forward.wait("listening", kind="udp")))
            forward.wait("forwarding")
            senders = [
                stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
                for _ in range(3)
            ]
            for number, sender in enumerate(senders):
                sender.settimeout(20)
                sender.sendto(b"%d" % number * 2000, here)
                data, flow = target.recvfrom(65535)
                target.sendto(data.replace(b"%d" % number, b"x%d" % number), flow)
            for number, sender in enumerate(senders):
                assert sender.recv(65535) == b"x%d" % number * 2000
            counted = forward.wait("counters", kind="udp")
            assert (counted["sent_bytes"], counted["received_bytes"]) == (6000, 12000)


def test_a_project_names_its_forwards(site: Site, tmp_path: Path, echo_port: int) -> None:
    here = free_port()
    text = f'workspace = "dev"\n[forward]\nlocal = ["{here}:{echo_port}"]\ndynamic = [0]\n'
    (tmp_path / ".kled.toml").write_text(text)
    below = tmp_path / "src"
    below.mkdir()
    with running(site, "up", "--trust", cwd=below) as up:
        up.wait("listening", listen=f"127.0.0.1:{here}")
        up.wait("listening", kind="dynamic")
        assert ask(("127.0.0.1", here)) == b"HELLO"
