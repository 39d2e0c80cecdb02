"""Which of its addresses an agent offers."""

from __future__ import annotations

import ipaddress
import sys

import pytest
import trio

from kled_agent.machine.addresses import (
    InterfaceAddress,
    open_port,
    plan_candidates,
    read_addresses,
)
from kled_wire.resume.direct.offer import CANDIDATES_MAX

FOUND = [
    InterfaceAddress("lo", "127.0.0.1"),
    InterfaceAddress("lo", "::1"),
    InterfaceAddress("eth0", "203.0.113.7"),
    InterfaceAddress("eth0", "192.168.1.7"),
    InterfaceAddress("eth0", "2001:db8::7"),
    InterfaceAddress("eth0", "fd00::7"),
    InterfaceAddress("eth0", "fe80::7%eth0"),
    InterfaceAddress("eth1", "10.0.0.7"),
    InterfaceAddress("eth1", "169.254.3.4"),
    InterfaceAddress("docker0", "172.17.0.1"),
    InterfaceAddress("br-4f2a", "172.18.0.1"),
    InterfaceAddress("virbr0", "192.168.122.1"),
]


def hosts(*, bound: str = "::", public: bool = False) -> list[str]:
    return [c.host for c in plan_candidates(FOUND, 40022, bound=bound, public=public)]


def test_ones_own_networks_in_both_families_by_turns_after_this_machine() -> None:
    assert hosts() == ["127.0.0.1", "::1", "fd00::7", "192.168.1.7", "10.0.0.7"]


def test_the_internet_only_where_it_is_asked_for_and_last() -> None:
    assert hosts(public=True)[-2:] == ["2001:db8::7", "203.0.113.7"]


@pytest.mark.parametrize(
    ("bound", "offered"),
    [
        ("192.168.1.7", ["192.168.1.7"]),
        ("0.0.0.0", ["127.0.0.1", "192.168.1.7", "10.0.0.7"]),
        ("10.99.99.99", []),
    ],
)
def test_only_what_is_listened_on_is_offered(bound: str, offered: list[str]) -> None:
    assert hosts(bound=bound) == offered


def test_there_are_not_too_many() -> None:
    many = [InterfaceAddress("eth0", f"10.0.0.{n}") for n in range(1, 100)]
    assert len(plan_candidates(many, 40022, bound="::", public=False)) == CANDIDATES_MAX


@pytest.mark.skipif(sys.platform != "linux", reason="lo is Linux's name for it")
def test_this_machine_has_loopback() -> None:
    found = [a for a in read_addresses() if a.interface == "lo"]
    assert any(ipaddress.ip_address(a.host).is_loopback for a in found)


async def test_localhost_is_both_loopback_addresses() -> None:
    """As where the hosts file names one of them only."""
    (listener,) = await trio.open_tcp_listeners(0, host="::1")
    async with listener, await open_port("localhost", listener.socket.getsockname()[1]) as stream:
        assert stream.socket.getpeername()[0] == "::1"
