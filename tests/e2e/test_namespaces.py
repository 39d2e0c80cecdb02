"""The networks that other tests use are what they are taken for."""

from __future__ import annotations

import contextlib
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kit.network import (
    Namespace,
    Network,
    block,
    masquerade,
    open_network,
    route,
    unblock,
    unroute,
    why_not,
)

MISSING = why_not()
pytestmark = pytest.mark.skipif(bool(MISSING), reason=MISSING)


@pytest.fixture
def network() -> Iterator[Network]:
    with open_network() as made:
        yield made


@contextlib.contextmanager
def listening(where: Namespace, address: str) -> Iterator[socket.socket]:
    """Somebody who waits for connections."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with where.entered(), socket.create_server((address, 0), family=family) as server:
        yield server


def reaches(who: Namespace, server: socket.socket) -> str:
    """The address that a server sees when `who` connects. Raises OSError where it cannot."""
    name = server.getsockname()
    with who.entered(), socket.create_connection(name[:2], timeout=1):
        accepted, peer = server.accept()
        accepted.close()
        return str(peer[0])


def test_behind_nat_one_gets_out_with_the_routers_address_and_nobody_in(network: Network) -> None:
    public, router, inside = (network.add(n) for n in ("public", "router", "inside"))
    outer = network.link(public, router, ("203.0.113.1/24",), ("203.0.113.2/24",))
    network.link(router, inside, ("10.0.0.1/24",), ("10.0.0.2/24",))
    route(inside, "10.0.0.1")
    route(public, "203.0.113.2", "10.0.0.0/24")
    masquerade(router, outer.right)
    with listening(public, "203.0.113.1") as server:
        assert reaches(inside, server) == "203.0.113.2"
    with listening(inside, "10.0.0.2") as server, pytest.raises(TimeoutError):
        reaches(public, server)


def test_a_switch_joins_many_in_both_families(network: Network) -> None:
    lan = network.bridge("lan")
    one, two, three = (network.add(n) for n in ("one", "two", "three"))
    for number, member in enumerate((one, two, three), 1):
        network.plug(lan, member, f"10.0.0.{number}/24", f"fd00::{number}/64")
    with listening(three, "10.0.0.3") as server:
        assert reaches(one, server) == "10.0.0.1"
    with listening(three, "fd00::3") as server:
        assert reaches(two, server) == "fd00::2"


def test_walls_and_routes_come_and_go(network: Network) -> None:
    one, two = network.add("one"), network.add("two")
    network.link(one, two, ("10.0.0.1/24",), ("10.0.0.2/24", "10.9.9.9/32"))
    with listening(two, "10.9.9.9") as server:
        with pytest.raises(OSError, match="unreachable"):
            reaches(one, server)
        route(one, "10.0.0.2", "10.9.9.9/32")
        assert reaches(one, server) == "10.0.0.1"
        block(two, "ip saddr 10.0.0.1", "drop")
        with pytest.raises(TimeoutError):
            reaches(one, server)
        unblock(two)
        assert reaches(one, server) == "10.0.0.1"
        unroute(one, "10.9.9.9/32")
        with pytest.raises(OSError, match="unreachable"):
            reaches(one, server)


def this_thread() -> int:
    """Which network the thread is in."""
    return Path("/proc/thread-self/ns/net").stat().st_ino


def test_nothing_of_a_network_stays() -> None:
    before = this_thread()
    with open_network() as network:
        made = network.add("one")
        with made.entered():
            assert this_thread() != before
            child = subprocess.Popen(["sleep", "600"])
        assert this_thread() == before
        assert made.pids() == [child.pid]
    assert child.wait(10) == -signal.SIGKILL
    assert not Path("/run/netns", made.name).exists()
