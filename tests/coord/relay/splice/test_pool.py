"""Real relay processes: which one gets a stream, and what the others do when one dies."""

from __future__ import annotations

import gc
import hashlib
import os
import signal
import sys
from collections.abc import Callable

import psutil
import pytest
import trio
import trio.testing

from kled_coord.metrics import Metrics
from kled_coord.relay.splice.bandwidth import Share
from kled_coord.relay.splice.pool import RelayPool
from kled_coord.relay.splice.process import Terms
from kled_coord.relay.splice.traffic import Traffic
from kled_wire.errors import UnavailableError
from tests.coord.relay.conftest import StreamPair
from tests.coord.relay.sidecars import pids_of
from tests.coord.relay.sockets import read_all

MakeStreams = Callable[[], StreamPair]

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="splice(2) and epoll(7) are Linux's"
)


def traffic() -> Traffic:
    return Traffic(on_count=lambda _to_agent, _to_client: None)


class Site:
    """A pool with streams through it."""

    def __init__(self, nursery: trio.Nursery, make_streams: MakeStreams, most: int = 2) -> None:
        self.metrics = Metrics()
        self.pool = RelayPool(most, self.metrics)
        self.ended: dict[str, str] = {}
        self._nursery = nursery
        self._make_streams = make_streams

    async def open(self, name: str, terms: Terms | None = None) -> StreamPair:
        """A stream that has carried its first byte: the client's and the agent's end."""
        (client, near), (far, agent) = self._make_streams(), self._make_streams()

        async def join() -> None:
            self.ended[name] = await self.pool.join(near, far, traffic(), terms or Terms())

        self._nursery.start_soon(join)
        await client.send_all(b"x")
        assert await agent.receive_some() == b"x"
        return client, agent

    async def open_on_both(self) -> tuple[StreamPair, StreamPair]:
        """One stream in each of two processes."""
        first = await self.open("first")
        await self.until(lambda: len(self.pool.loads) == 2)
        return first, await self.open("second")

    async def until(self, condition: Callable[[], bool]) -> None:
        with trio.fail_after(10):
            while not condition():
                await trio.sleep(0.02)

    def sample(self, name: str, **labels: str) -> float | None:
        return self.metrics.registry.get_sample_value(name, labels)


async def test_one_process_stands_by_and_each_gets_its_share(
    nursery: trio.Nursery, make_streams: MakeStreams
) -> None:
    site = Site(nursery, make_streams)
    await nursery.start(site.pool.run)
    assert site.pool.loads == [0]
    await site.open_on_both()
    assert site.pool.loads == [1, 1]
    await site.open("third")
    assert sorted(site.pool.loads) == [1, 2]
    assert site.sample("kled_relay_processes") == 2
    shown = [site.sample("kled_relay_streams", process=name) for name in ("0", "1")]
    assert shown == site.pool.loads
    assert len(_relay_pids()) == 2
    nursery.cancel_scope.cancel()


async def test_streams_of_a_process_that_lives_go_on_when_another_is_killed(
    nursery: trio.Nursery, make_streams: MakeStreams
) -> None:
    site = Site(nursery, make_streams)
    await nursery.start(site.pool.run)
    (doomed,) = _relay_pids()
    _, (client, agent) = await site.open_on_both()
    payload = os.urandom(8_000_000)
    async with trio.open_nursery() as moving:

        async def send() -> None:
            await client.send_all(payload[: len(payload) // 2])
            os.kill(doomed, signal.SIGKILL)
            await site.until(lambda: "first" in site.ended)
            await client.send_all(payload[len(payload) // 2 :])
            await client.send_eof()

        moving.start_soon(send)
        got = await read_all(agent)
    assert hashlib.sha256(got).digest() == hashlib.sha256(payload).digest()
    assert site.ended == {"first": "broken"}
    nursery.cancel_scope.cancel()


async def test_a_new_stream_does_not_wait_for_a_process_that_was_killed(
    nursery: trio.Nursery, make_streams: MakeStreams
) -> None:
    site = Site(nursery, make_streams)
    await nursery.start(site.pool.run)
    (doomed,) = _relay_pids()
    await site.open_on_both()
    os.kill(doomed, signal.SIGKILL)
    await site.until(lambda: "first" in site.ended)
    assert site.sample("kled_relay_processes") == 1
    await site.open("third")
    assert site.pool.loads == [0, 2]
    await site.until(lambda: site.sample("kled_relay_processes") == 2)
    assert site.sample("kled_relay_restarts_total", process="0") == 1
    await site.open("fourth")
    assert site.pool.loads == [1, 2]
    nursery.cancel_scope.cancel()


# A coordinator that leaves its relay ends right after; here the interpreter lives on and notices.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore:subprocess:ResourceWarning")
async def test_all_that_are_left_serve_their_streams_and_then_exit(
    nursery: trio.Nursery, make_streams: MakeStreams
) -> None:
    async with trio.open_nursery() as running:
        site = Site(running, make_streams)
        await running.start(site.pool.run)
        streams = await site.open_on_both()
        left = [psutil.Process(pid) for pid in _relay_pids()]
        site.pool.leave()
        running.cancel_scope.cancel()
    for client, agent in streams:
        await client.send_all(b"after")
        assert await agent.receive_some() == b"after"
        await client.send_eof()
        await agent.send_eof()
        assert await client.receive_some() == b""
    for process in left:
        await trio.to_thread.run_sync(process.wait, 10)
    nursery.cancel_scope.cancel()
    del site
    gc.collect()  # the interpreter is to notice here, not in another test


async def test_a_cut_ends_the_streams_of_all_of_them(
    nursery: trio.Nursery, make_streams: MakeStreams
) -> None:
    async with trio.open_nursery() as running:
        site = Site(running, make_streams)
        await running.start(site.pool.run)
        streams = await site.open_on_both()
        site.pool.leave()
        site.pool.cut()
        running.cancel_scope.cancel()
    for client, agent in streams:
        assert await client.receive_some() == b""
        assert await agent.receive_some() == b""
    assert _relay_pids() == []


async def test_streams_that_share_a_limit_are_in_one_process(
    nursery: trio.Nursery, make_streams: MakeStreams
) -> None:
    site = Site(nursery, make_streams)
    await nursery.start(site.pool.run)
    await site.open_on_both()
    limited = Terms(shares=(Share(1, 10_000_000),))
    for number in range(3):
        await site.open(f"limited {number}", limited)
    assert sorted(site.pool.loads) == [1, 4]
    nursery.cancel_scope.cancel()


async def test_without_a_process_a_join_waits_and_is_refused(
    make_streams: MakeStreams, autojump_clock: trio.testing.MockClock
) -> None:
    (_client, near), (far, _agent) = make_streams(), make_streams()
    with pytest.raises(UnavailableError) as caught:
        await RelayPool(2, Metrics()).join(near, far, traffic(), Terms())
    assert caught.value.code == "relay_restarting"
    assert trio.current_time() >= 5


def _relay_pids() -> list[int]:
    return pids_of("kled_coord.relay.splice.splicer")
