"""What can be known of the network; with namespaces, where there are some, that it changed."""

from __future__ import annotations

import select
import socket
import sys

import pytest

from kled_wire.transport.network import drain, is_astray, open_watch, place, round_trip_s
from tests.kit.network import open_network, why_not

MISSING = why_not()


@pytest.mark.skipif(sys.platform != "linux", reason="from /proc")
def test_a_place_is_the_same_for_all_on_it_and_does_not_tell_which() -> None:
    assert place() == place()
    assert len(place()) == 16


@pytest.mark.skipif(bool(MISSING), reason=MISSING)
def test_another_namespace_is_another_place() -> None:
    with open_network() as network, network.add("one").entered():
        there = place()
    assert there != place()


@pytest.mark.skipif(bool(MISSING), reason=MISSING)
@pytest.mark.parametrize("address", ["10.9.9.9/32", "fd00::9/128"])
def test_a_change_of_addresses_is_reported_until_it_is_taken_note_of(address: str) -> None:
    with open_network() as network:
        one = network.add("one")
        with one.entered():
            watch = open_watch()
        assert watch is not None
        with watch:
            drain(watch)
            assert not select.select([watch], [], [], 0)[0]
            one.up("lo", address)
            assert select.select([watch], [], [], 10)[0]
            drain(watch)
            assert not select.select([watch], [], [], 0)[0]


@pytest.mark.skipif(bool(MISSING), reason=MISSING)
def test_a_connection_is_astray_without_its_address_or_a_route() -> None:
    with open_network() as network:
        one, two = network.add("one"), network.add("two")
        ends = network.link(one, two, ("10.0.0.1/24", "fd00::1/64"), ("10.0.0.2/24", "fd00::2/64"))
        with one.entered():
            assert not is_astray("10.0.0.1", "10.0.0.2")
            assert not is_astray("fd00::1", "fd00::2")
            assert is_astray("10.0.0.9", "10.0.0.2")
            assert is_astray("fd00::9", "fd00::2")
            one.ip("address", "del", "10.0.0.1/24", "dev", ends.left)
            one.ip("-6", "route", "del", "fd00::/64", "dev", ends.left)
            assert is_astray("10.0.0.1", "10.0.0.2")
            assert is_astray("fd00::1", "fd00::2")


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's own measurement")
def test_the_kernel_knows_a_connections_round_trip() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        with socket.create_connection(server.getsockname()) as near:
            assert 0 < (round_trip_s(near) or 0) < 1
        with socket.socket() as unconnected:
            assert round_trip_s(unconnected) is None
