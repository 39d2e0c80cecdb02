"""Transports that the network has taken away are given up at once."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import trio
import trio.testing

from kled_wire.resume.carriage import TransportLost
from kled_wire.resume.netwatch import NetworkWatch
from kled_wire.transport.prefixed import PrefixedStream
from tests.kit.network import Link, Namespace, open_network, why_not

MISSING = why_not()


class Site:
    """A connection between two namespaces, whose client we are."""

    def __init__(self, here: Namespace, ends: Link, near: trio.SocketStream) -> None:
        self.here = here
        self.ends = ends
        self.near = near
        self.network = NetworkWatch()


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    if MISSING:
        pytest.skip(MISSING)
    with open_network() as network:
        here, there = network.add("here"), network.add("there")
        ends = network.link(here, there, ("10.0.0.1/24",), ("10.0.0.2/24",))
        with there.entered():
            (listener,) = await trio.open_tcp_listeners(0, host="10.0.0.2")
        with here.entered():
            near = await trio.testing.open_stream_to_socket_listener(listener)
            made = Site(here, ends, near)
            async with listener, near, trio.open_nursery() as nursery:
                nursery.start_soon(made.network.run)
                await trio.testing.wait_all_tasks_blocked()
                yield made
                nursery.cancel_scope.cancel()


async def lose(site: Site) -> None:
    """Use a transport, and take its address away."""
    with trio.fail_after(20), site.network.guard(PrefixedStream(b"", site.near)):
        site.here.ip("address", "del", "10.0.0.1/24", "dev", site.ends.left)
        await trio.sleep_forever()


async def test_without_its_address_a_transport_is_lost(site: Site) -> None:
    with pytest.raises(TransportLost, match="network"):
        await lose(site)


async def test_another_address_beside_it_changes_nothing_for_it(site: Site) -> None:
    with trio.fail_after(20), site.network.guard(site.near):
        site.here.up(site.ends.left, "10.0.0.9/24", "fd00::9/64")
        await site.network.wait_changed()
        await trio.testing.wait_all_tasks_blocked()


async def test_what_is_no_tcp_connection_is_left_alone() -> None:
    near, _far = trio.testing.memory_stream_pair()
    with NetworkWatch().guard(near):
        await trio.lowlevel.checkpoint()
