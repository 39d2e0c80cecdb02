"""The kit's slow link does what it says; everything else that is slow stands on it."""

from __future__ import annotations

import contextlib
import hashlib
import os
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from tests.kit.network import Namespace, open_network
from tests.kit.slowlink import SlowLink, slow_link, why_not

MISSING = why_not()
pytestmark = pytest.mark.skipif(bool(MISSING), reason=MISSING)
SERVER = "10.7.0.2"


@pytest.fixture(params=[1500, 65000])
def ends(request: pytest.FixtureRequest) -> Iterator[tuple[Namespace, Namespace, SlowLink]]:
    with open_network() as network:
        left, right = network.add("left"), network.add("right")
        addresses = ("10.7.0.1/24", "fd00:7::1/64"), (f"{SERVER}/24", "fd00:7::2/64")
        with slow_link(left, right, *addresses, mtu=request.param) as link:
            yield left, right, link


@contextlib.contextmanager
def listening(where: Namespace, address: str) -> Iterator[socket.socket]:
    with where.entered():
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        listener = socket.create_server((address, 4000), family=family)
    with listener:
        yield listener


def send_and_close(client: socket.socket, data: bytes) -> None:
    client.sendall(data)
    client.close()


@pytest.mark.parametrize("address", [SERVER, "fd00:7::2"])
def test_a_round_trip_takes_the_delay_twice(
    ends: tuple[Namespace, Namespace, SlowLink], address: str
) -> None:
    left, right, link = ends
    link.set(delay_ms=40)
    with listening(right, address), left.entered():
        began = time.monotonic()
        socket.create_connection((address, 4000)).close()
        assert time.monotonic() - began >= 0.08


def test_what_is_down_carries_nothing_until_it_is_up(
    ends: tuple[Namespace, Namespace, SlowLink],
) -> None:
    left, right, link = ends
    with listening(right, SERVER), left.entered():
        for dead in ({"down": True}, {"down": False, "loss": 1.0}):
            link.set(**dead)
            with pytest.raises(TimeoutError):
                socket.create_connection((SERVER, 4000), timeout=0.3)
        link.set(loss=0.0)
        socket.create_connection((SERVER, 4000), timeout=10).close()


def test_what_is_lost_is_sent_again_by_tcp(ends: tuple[Namespace, Namespace, SlowLink]) -> None:
    left, right, link = ends
    link.set(loss=0.02, delay_ms=1, jitter_ms=1)
    data, got = os.urandom(1_000_000), hashlib.sha256()
    with listening(right, SERVER) as listener, left.entered():
        client = socket.create_connection((SERVER, 4000), timeout=30)
        sender = threading.Thread(target=send_and_close, args=(client, data))
        sender.start()
        server, _ = listener.accept()
        with server:
            while block := server.recv(65536):
                got.update(block)
        sender.join()
    assert got.digest() == hashlib.sha256(data).digest()


def test_a_rate_is_a_limit(ends: tuple[Namespace, Namespace, SlowLink]) -> None:
    left, right, link = ends
    link.set(rate_mbit=8)
    with listening(right, SERVER) as listener, left.entered():
        began = time.monotonic()
        client = socket.create_connection((SERVER, 4000), timeout=30)
        server, _ = listener.accept()
        sender = threading.Thread(target=send_and_close, args=(client, bytes(200_000)))
        sender.start()
        with server:
            while server.recv(65536):
                pass
        sender.join()
        assert time.monotonic() - began >= 0.19
