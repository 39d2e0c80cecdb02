"""Servers that speak first and close at once, late or never: `kled forward` and `ssh -W`."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e.test_forward_command import port_of, running
from tests.kit.site import Site

SHORT, LONG = b"220 ready\n", os.urandom(1_000_000)
ROUNDS = {SHORT: 20, LONG: 3}
Address = tuple[str, int] | str
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


SERVERS: tuple[Greet, ...] = (closes_at_once, closes_late, closes_with_the_client)


@contextlib.contextmanager
def greeting(address: Address, greet: Greet, text: bytes) -> Iterator[str]:
    """Greets whoever connects; gives the address as forwards want it."""
    family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
    with socket.socket(family) as listener:
        listener.bind(address)
        listener.listen(100)

        def answer(link: socket.socket) -> None:
            with link, contextlib.suppress(ConnectionError):
                greet(link, text)

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    link, _ = listener.accept()
                    threading.Thread(target=answer, args=(link,), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        yield address if isinstance(address, str) else f"127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)
    if isinstance(address, str):
        Path(address).unlink()


def read(link: socket.socket, greet: Greet, text: bytes) -> bytes:
    link.settimeout(20)
    if greet is closes_late:
        link.shutdown(socket.SHUT_WR)
    got = bytearray()
    while greet is not closes_with_the_client or len(got) < len(text):
        data = link.recv(65536)
        if not data:
            break
        got += data
    return bytes(got)


def socks(port: int, target: str) -> socket.socket:
    """A connection to `target` through a SOCKS5 proxy (RFC 1928)."""
    link = socket.create_connection(("127.0.0.1", port), timeout=20)
    number = int(target.rpartition(":")[2]).to_bytes(2, "big")
    link.sendall(b"\x05\x01\x00\x05\x01\x00\x01\x7f\x00\x00\x01" + number)
    for size in (2, 10):
        assert link.recv(size, socket.MSG_WAITALL)[1] == 0
    return link


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
                    assert read(link, greet, text) == text


@pytest.mark.parametrize("greet", SERVERS)
@pytest.mark.parametrize("text", ROUNDS, ids=["short", "long"])
def test_ssh_w_carries_it_whole(site: Site, host: str, greet: Greet, text: bytes) -> None:
    with greeting(("127.0.0.1", 0), greet, text) as target:
        for _ in range(2):
            words = [*site.ssh_words(), "-W", target, host]
            with site.running(*words, stdin=subprocess.PIPE) as process:
                assert process.stdin is not None
                assert process.stdout is not None
                if greet is closes_late:
                    process.stdin.close()
                got = process.stdout.read(len(text))
                assert got == text
                if greet is not closes_with_the_client:
                    assert process.stdout.read() == b""
