"""A real relay process, started and handed sockets as the coordinator does."""

from __future__ import annotations

import hashlib
import math
import os
import resource
import signal
import sys
from collections.abc import Callable

import psutil
import pytest
import trio
import trio.testing

from kled_coord.metrics import Metrics
from kled_coord.relay.splice.process import RelayProcess, Terms
from kled_coord.relay.splice.traffic import Traffic
from kled_wire.errors import UnavailableError
from tests.coord.relay.conftest import StreamPair
from tests.coord.relay.sidecars import limit_leaving, pids_of
from tests.coord.relay.sockets import read_all

MakeStreams = Callable[[], StreamPair]

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="splice(2) and epoll(7) are Linux's"
)


def traffic() -> Traffic:
    return Traffic(on_count=lambda _to_agent, _to_client: None)


def make() -> RelayProcess:
    return RelayProcess(Metrics(), "0", lambda: None)


async def test_a_stream_is_joined_to_its_end_and_counted(
    nursery: trio.Nursery, make_streams: MakeStreams
) -> None:
    relay = make()
    await nursery.start(relay.run)
    (client, near), (far, agent) = make_streams(), make_streams()
    counted, ended = traffic(), []

    async def join() -> None:
        ended.append(await relay.join(near, far, counted, Terms()))

    payload = os.urandom(3_000_000)
    async with trio.open_nursery() as joining:
        joining.start_soon(join)

        async def send() -> None:
            await client.send_all(payload)
            await client.send_eof()

        joining.start_soon(send)
        got = await read_all(agent)
        assert hashlib.sha256(got).digest() == hashlib.sha256(payload).digest()
        await agent.send_all(b"thanks")
        await agent.send_eof()
        assert await read_all(client) == b"thanks"
    assert ended == ["closed"]
    assert (counted.to_agent, counted.to_client) == (3_000_000, 6)
    nursery.cancel_scope.cancel()


async def test_a_cancelled_join_ends_both_connections(
    nursery: trio.Nursery, make_streams: MakeStreams
) -> None:
    relay = make()
    await nursery.start(relay.run)
    (client, near), (far, agent) = make_streams(), make_streams()
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as joining:
            joining.start_soon(_join, relay, near, far)
            await client.send_all(b"x")
            assert await agent.receive_some() == b"x"
            scope.cancel()
    assert await agent.receive_some() == b""
    assert await client.receive_some() == b""
    nursery.cancel_scope.cancel()


async def test_a_join_that_is_cancelled_before_the_handover_waits_for_nothing(
    nursery: trio.Nursery, make_streams: MakeStreams
) -> None:
    relay = RelayProcess(Metrics(), "0", lambda: None, end_s=math.inf)
    await nursery.start(relay.run)
    (client, near), (far, _agent) = make_streams(), make_streams()
    with trio.CancelScope() as scope:
        scope.cancel()
        await _join(relay, near, far)
    assert relay.load == 0
    await near.send_all(b"still ours")
    assert await client.receive_some() == b"still ours"
    nursery.cancel_scope.cancel()


async def test_a_relay_that_dies_breaks_its_streams_and_is_started_again(
    nursery: trio.Nursery, make_streams: MakeStreams
) -> None:
    relay = make()
    await nursery.start(relay.run)
    (client, near), (far, agent) = make_streams(), make_streams()
    ended: list[str] = []

    async def join() -> None:
        ended.append(await relay.join(near, far, traffic(), Terms()))

    async with trio.open_nursery() as joining:
        joining.start_soon(join)
        await client.send_all(b"x")
        assert await agent.receive_some() == b"x"
        os.kill(_relay_pid(), signal.SIGKILL)
    assert ended == ["broken"]
    await _until(lambda: not relay.running)
    await _until(lambda: relay.running)
    (client, near), (far, agent) = make_streams(), make_streams()
    async with trio.open_nursery() as joining:
        joining.start_soon(_join, relay, near, far)
        await client.send_all(b"y")
        assert await agent.receive_some() == b"y"
        joining.cancel_scope.cancel()
    nursery.cancel_scope.cancel()


@pytest.mark.parametrize("left", range(6))
async def test_a_relay_without_descriptors_loses_the_new_stream_and_no_other(
    nursery: trio.Nursery, make_streams: MakeStreams, left: int
) -> None:
    relay = make()
    await nursery.start(relay.run)
    (client, near), (far, agent) = make_streams(), make_streams()
    async with trio.open_nursery() as joining:
        joining.start_soon(_join, relay, near, far)
        await client.send_all(b"x")
        assert await agent.receive_some() == b"x"
        before = resource.prlimit(_relay_pid(), resource.RLIMIT_NOFILE)
        used = psutil.Process(_relay_pid()).num_fds()
        resource.prlimit(
            _relay_pid(), resource.RLIMIT_NOFILE, (limit_leaving(left, _relay_pid()), before[1])
        )
        # Two for the sockets and four for the pipes are one too many.
        (lost, near), (far, _) = make_streams(), make_streams()
        with trio.fail_after(30):
            assert await relay.join(near, far, traffic(), Terms()) == "broken"
        assert await lost.receive_some() == b""
        resource.prlimit(_relay_pid(), resource.RLIMIT_NOFILE, before)
        (other, near), (far, other_agent) = make_streams(), make_streams()
        joining.start_soon(_join, relay, near, far)
        for here, there in ((client, agent), (other, other_agent)):
            await here.send_all(b"y")
            assert await there.receive_some() == b"y"
        assert psutil.Process(_relay_pid()).num_fds() == used + 6
        joining.cancel_scope.cancel()
    nursery.cancel_scope.cancel()


# A coordinator that leaves its relay ends right after; here the interpreter lives on and notices.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore:subprocess:ResourceWarning")
async def test_a_relay_that_is_left_serves_its_streams_and_then_exits(
    nursery: trio.Nursery, make_streams: MakeStreams
) -> None:
    relay = make()
    (client, near), (far, agent) = make_streams(), make_streams()
    async with trio.open_nursery() as running:
        await running.start(relay.run)
        running.start_soon(_join, relay, near, far)
        await client.send_all(b"before")
        assert await agent.receive_some() == b"before"
        left = psutil.Process(_relay_pid())
        relay.leave()
        running.cancel_scope.cancel()
    await client.send_all(b"after")
    assert await agent.receive_some() == b"after"
    await client.send_eof()
    await agent.send_eof()
    assert await client.receive_some() == b""
    await trio.to_thread.run_sync(lambda: left.wait(10))
    nursery.cancel_scope.cancel()


@pytest.mark.slow
async def test_limits_on_idle_streams_are_kept(
    nursery: trio.Nursery, make_streams: MakeStreams
) -> None:
    relay = make()
    await nursery.start(relay.run)
    (_client, near), (far, _agent) = make_streams(), make_streams()
    assert await relay.join(near, far, traffic(), Terms(absolute_s=0.01)) == "absolute_limit"
    (_client, near), (far, _agent) = make_streams(), make_streams()
    assert await relay.join(near, far, traffic(), Terms(idle_s=0.01)) == "idle_limit"
    nursery.cancel_scope.cancel()


async def test_without_a_process_a_join_is_refused_and_the_sockets_stay_ours(
    make_streams: MakeStreams,
) -> None:
    (client, near), (far, agent) = make_streams(), make_streams()
    with pytest.raises(UnavailableError) as caught:
        await make().join(near, far, traffic(), Terms())
    assert caught.value.code == "relay_restarting"
    await near.send_all(b"to the client")
    await far.send_all(b"to the agent")
    assert await client.receive_some() == b"to the client"
    assert await agent.receive_some() == b"to the agent"


async def _join(relay: RelayProcess, near: trio.SocketStream, far: trio.SocketStream) -> None:
    await relay.join(near, far, traffic(), Terms())


def _relay_pid() -> int:
    (pid,) = pids_of("kled_coord.relay.splice.splicer")
    return pid


async def _until(condition: Callable[[], bool]) -> None:
    with trio.fail_after(10):
        while not condition():
            await trio.sleep(0.02)


async def test_it_has_none_of_the_coordinators_settings(nursery: trio.Nursery, monkeypatch) -> None:
    monkeypatch.setenv("KLED_COORD_DATABASE_URL", "postgresql://kled:secret@db/kled")
    await nursery.start(make().run)
    for pid in pids_of("kled_coord.relay.splice.splicer"):
        environment = psutil.Process(pid).environ()
        assert "PATH" in environment
        assert not any(name.startswith("KLED_") for name in environment)
    nursery.cancel_scope.cancel()
