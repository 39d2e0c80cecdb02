"""Transports that the network has taken away are given up at once."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import trio
import trio.testing

from kled_wire.resume.driver import TransportLost
from kled_wire.resume.netwatch import NetworkWatch
from kled_wire.transport.prefixed import PrefixedStream
from tests.kit.network import why_not
from tests.kit.veth_pair import VethPair, open_veth_pair

MISSING = why_not()


class Site:
    """A connection between two namespaces, whose client we are."""

    def __init__(self, pair: VethPair) -> None:
        self.here = pair.here
        self.ends = pair.ends
        self.near = pair.near
        self.network = NetworkWatch()


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    if MISSING:
        pytest.skip(MISSING)
    async with open_veth_pair() as pair:
        made = Site(pair)
        with pair.here.entered():
            async with trio.open_nursery() as nursery:
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
