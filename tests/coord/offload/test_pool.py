"""Real offload processes: when there are any, and which one gets a connection."""

from __future__ import annotations

import sys
from contextlib import AsyncExitStack

import pytest
import trio
import trio.testing

from kled_coord.metrics import Metrics
from kled_coord.offload.handover import LayerKind
from kled_coord.offload.pool import OffloadPool
from kled_wire.errors import UnavailableError
from kled_wire.transport.tls import TlsStream
from tests.coord.offload.authority import NAME, Authority
from tests.coord.offload.test_process import check
from tests.coord.relay.sockets import connected
from tests.kit.sockets import trio_stream

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="epoll(7) is Linux's")


class Site:
    """A pool with connections through it."""

    def __init__(self, authority: Authority, *, tls: bool, stack: AsyncExitStack) -> None:
        self.metrics = Metrics()
        self.authority = authority
        self.pool = OffloadPool(2, self.metrics, authority.issue() if tls else None)
        self.stack = stack

    async def open(self, kind: LayerKind = LayerKind.TLS) -> None:
        peer, outer = (trio_stream(end) for end in connected())
        await self.stack.enter_async_context(peer)
        await self.stack.enter_async_context(outer)
        plain = await self.stack.enter_async_context(self.pool.unwrapped(kind, outer))
        await outer.aclose()
        if kind is LayerKind.TLS:
            client = TlsStream(peer, self.authority.trusting(), server_hostname=NAME)
            await client.do_handshake()
            await check(client, plain)

    async def until_there_are(self, count: int) -> None:
        with trio.fail_after(20):
            while len(self.pool.running) < count:
                await trio.sleep(0.02)
        shown = self.metrics.registry.get_sample_value("kled_offload_processes")
        assert shown == count


async def test_one_process_stands_by_and_each_gets_its_share(
    authority: Authority, nursery: trio.Nursery
) -> None:
    async with AsyncExitStack() as stack:
        site = Site(authority, tls=True, stack=stack)
        await nursery.start(site.pool.run)
        assert site.pool.loads == [0]
        await site.open()
        await site.until_there_are(2)
        await site.open()
        assert site.pool.loads == [1, 1]
        shown = [
            site.metrics.registry.get_sample_value("kled_offload_connections", {"process": name})
            for name in ("0", "1")
        ]
        assert shown == [1, 1]
    assert site.pool.loads == [0, 0]
    nursery.cancel_scope.cancel()


async def test_without_tls_the_first_one_comes_with_the_first_websocket(
    authority: Authority, nursery: trio.Nursery
) -> None:
    async with AsyncExitStack() as stack:
        site = Site(authority, tls=False, stack=stack)
        await nursery.start(site.pool.run)
        await trio.testing.wait_all_tasks_blocked()
        assert site.pool.loads == []
        await site.open(LayerKind.WEBSOCKET)
        await site.until_there_are(2)
    nursery.cancel_scope.cancel()


async def test_where_none_comes_a_connection_is_refused(
    authority: Authority, autojump_clock: trio.testing.MockClock
) -> None:
    async with AsyncExitStack() as stack:
        site = Site(authority, tls=True, stack=stack)
        with pytest.raises(UnavailableError) as caught:
            await site.open()
        assert caught.value.code == "offload_restarting"
        assert trio.current_time() >= 5
