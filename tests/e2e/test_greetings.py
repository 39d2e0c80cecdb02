"""Servers that speak first and close at once, late, never or hard, or never read."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e.test_forward_command import port_of, running
from tests.e2e.test_forwards import ssh as forwarding
from tests.kit.site import BIN, Site
from tests.kit.sockets import Address, free_port
from tests.kit.thread_server import serving_in_threads

SHORT, LONG = b"220 ready\n", os.urandom(1_000_000)
ROUNDS = {SHORT: 20, LONG: 3}
Greet = Callable[[socket.socket, bytes], None]


def closes_at_once(link: socket.socket, greeting: bytes) -> None:
    link.sendall(greeting)


def closes_late(link: socket.socket, greeting: bytes) -> None:
    link.sendall(greeting)
    while link.recv(65536):
        pass


def closes_with_the_client(link: socket.socket, greeting: bytes) -> None:
    """For the client it never closes: that one leaves once it has all."""
    closes_late(link, greeting)


def never_reads(link: socket.socket, greeting: bytes) -> None:
    """Until nobody is there: epoll tells of that without a read."""
    link.sendall(greeting)
    gone = select.poll()
    gone.register(link, select.POLLHUP | select.POLLERR)
    gone.poll(60_000)


def resets(link: socket.socket, greeting: bytes) -> None:
    """Closing with something unread resets a connection (RFC 1122, 4.2.2.13)."""
    link.sendall(greeting)
    link.recv(1, socket.MSG_PEEK)


SERVERS: tuple[Greet, ...] = (
    closes_at_once,
    closes_late,
    closes_with_the_client,
    never_reads,
    resets,
)
# These are there while the client says nothing.
STAYING = (closes_with_the_client, never_reads, resets)


@contextlib.contextmanager
def greeting(address: Address, greet: Greet, text: bytes) -> Iterator[str]:
    """Greets whoever connects; gives the address as forwards want it."""
    with serving_in_threads(address, lambda link: greet(link, text)) as port:
        try:
            yield address if isinstance(address, str) else f"127.0.0.1:{port}"
        finally:
            if isinstance(address, str):
                Path(address).unlink()


def check(link: socket.socket, greet: Greet, text: bytes) -> None:
    """All of `text` comes and then the end, where it may."""
    link.settimeout(20)
    if greet is closes_late:
        link.shutdown(socket.SHUT_WR)
    got = bytearray()
    while greet not in STAYING or len(got) < len(text):
        data = link.recv(65536)
        if not data:
            break
        got += data
    assert got == text
    if greet is resets:
        link.sendall(b"x")
        with contextlib.suppress(ConnectionResetError):
            assert link.recv(1) == b""
    if greet is never_reads:
        link.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:
                link.send(bytes(65536))


def socks(port: int, target: str) -> socket.socket:
    """A connection to `target` through a SOCKS5 proxy (RFC 1928)."""
    link = socket.create_connection(("127.0.0.1", port), timeout=20)
    number = int(target.rpartition(":")[2]).to_bytes(2, "big")
    link.sendall(b"\x05\x01\x00\x05\x01\x00\x01\x7f\x00\x00\x01" + number)
    for size in (2, 10):
        assert link.recv(size, socket.MSG_WAITALL)[1] == 0
    return link


def connected(address: Address) -> socket.socket:
    """A connection to it."""
    link = socket.socket(socket.AF_UNIX if isinstance(address, str) else socket.AF_INET)
    link.settimeout(20)
    link.connect(address)
    return link


@pytest.fixture(scope="module")
def second_hop(site: Site) -> Iterator[tuple[str, ...]]:
    """Words for ssh to reach the workspace once more, from inside it."""
    words = (BIN / "kled", "stream", "dev", "--listen", "127.0.0.1:0", "--resume", "always")
    with site.running(*words) as process:
        assert process.stdout is not None
        port = process.stdout.readline().rpartition(b":")[2].decode().strip()
        yield ("-J", "dev.kled", "-p", port, "-oHostName=127.0.0.1", "-oHostKeyAlias=dev.kled",
               "-oProxyUseFdpass=no")  # fmt: skip


@pytest.mark.parametrize("greet", SERVERS)
@pytest.mark.parametrize("text", ROUNDS, ids=["short", "long"])
def test_kled_forward_carries_it_whole(site: Site, greet: Greet, text: bytes) -> None:
    with (
        greeting(("127.0.0.1", 0), greet, text) as port,
        greeting(str(site.root / "greet"), greet, text) as path,
        running(site, "forward", "dev", f"0:{port}", f"0:{path}", "--dynamic", "0") as here,
        running(site, "forward", "dev", "--remote", f"0:{port}") as there,
    ):
        addresses = [port_of(here.wait("listening")) for _ in range(3)]
        addresses.append(port_of(there.wait("listening")))
        for number, address in enumerate(addresses):
            for _ in range(ROUNDS[text]):
                if number == 2:
                    link = socks(address, port)
                else:
                    link = socket.create_connection(("127.0.0.1", address))
                with link:
                    check(link, greet, text)


@pytest.mark.parametrize("greet", SERVERS)
@pytest.mark.parametrize("text", ROUNDS, ids=["short", "long"])
def test_ssh_w_and_j_carry_it_whole(
    site: Site, host: str, second_hop: tuple[str, ...], greet: Greet, text: bytes
) -> None:
    with greeting(("127.0.0.1", 0), greet, text) as target:
        for hops in ((), second_hop):
            words = [*site.ssh_words(), *hops, "-W", target, host]
            with site.running(*words, stdin=subprocess.PIPE) as process:
                assert process.stdin is not None
                assert process.stdout is not None
                if greet is closes_late:
                    process.stdin.close()
                got = process.stdout.read(len(text))
                assert got == text
                if greet is resets:
                    process.stdin.write(b"x")
                    process.stdin.flush()
                if greet is resets or greet not in STAYING:
                    assert process.stdout.read() == b""


@pytest.mark.parametrize("greet", SERVERS)
@pytest.mark.parametrize("text", ROUNDS, ids=["short", "long"])
def test_ssh_forwards_carry_it_whole(site: Site, greet: Greet, text: bytes) -> None:
    ports = [free_port() for _ in range(5)]
    paths = [str(site.root / f"{name}{ports[0]}") for name in ("here", "there")]
    with (
        greeting(("127.0.0.1", 0), greet, text) as port,
        greeting(str(site.root / "greet"), greet, text) as path,
    ):
        words = ("-L", f"{ports[0]}:{port}", "-L", f"{ports[1]}:{path}", "-L", f"{paths[0]}:{path}",
                 "-R", f"{ports[2]}:{port}", "-R", f"{ports[3]}:{path}", "-R", f"{paths[1]}:{port}",
                 "-D", str(ports[4]), "-oStreamLocalBindUnlink=yes")  # fmt: skip
        # It is ready when what it asked for last is, and has asked in this order.
        with forwarding(site, *words, until=paths[1]):
            for _ in range(ROUNDS[text] // 2 or 1):
                addresses: list[Address] = [("127.0.0.1", number) for number in ports[:4]]
                for address in [*addresses, *paths]:
                    with connected(address) as link:
                        check(link, greet, text)
                with socks(ports[4], port) as link:
                    check(link, greet, text)
