"""Resumable streams at the agent: whose they are, and what ends them."""

from __future__ import annotations

import dataclasses
import logging
import os
from collections.abc import AsyncIterator

import pytest
import trio
import trio.testing

from kled_agent.control.grants import Grants
from kled_agent.control.resumption import ResumeLimits, Resumption
from kled_wire.control import messages
from kled_wire.errors import ProtocolError, UnavailableError
from kled_wire.eventlog import EventLog
from kled_wire.resume.driver import TransportLost
from kled_wire.resume.frames import New, encode_greeting
from kled_wire.resume.handshake import ask_to_resume
from kled_wire.resume.state import StreamState
from kled_wire.resume.stream import ResumableStream
from tests.agent.control.application import echo

LOG = EventLog(logging.getLogger("test"))
DIAL = messages.Dial(ticket="", kind="ssh", resume=True, user="usr_alice", grant="first")


class Site:
    """An agent's streams, and transports to them."""

    def __init__(self, nursery: trio.Nursery, bounds: ResumeLimits | None = None) -> None:
        self.nursery = nursery
        self.grants = Grants()
        self.resumption = Resumption(nursery, bounds or ResumeLimits(), self.grants)

    def connect(self, dial: messages.Dial = DIAL) -> trio.abc.HalfCloseableStream:
        """A transport that the agent serves."""
        near, far = trio.testing.memory_stream_pair()
        self.nursery.start_soon(self.resumption.serve, far, dial, LOG, echo)
        return near

    async def begin(self) -> tuple[New, ResumableStream, trio.CancelScope]:
        """A new stream, attached; cancelling the scope cuts its transport."""
        new, client = New.draw(os.urandom), ResumableStream(StreamState())
        transport = self.connect()
        await transport.send_all(encode_greeting(new))
        return new, client, await self.attach(client, transport, 0)

    async def attach(
        self, client: ResumableStream, transport: trio.abc.HalfCloseableStream, position: int
    ) -> trio.CancelScope:
        """Carry `client` over `transport` in the background."""
        return await self.nursery.start(self._carry, client, transport, position)

    async def _carry(
        self,
        client: ResumableStream,
        transport: trio.abc.HalfCloseableStream,
        position: int,
        *,
        task_status: trio.TaskStatus[trio.CancelScope],
    ) -> None:
        with trio.CancelScope() as scope:
            task_status.started(scope)
            try:
                await client.run_transport(transport, position)
            except TransportLost:
                return

    async def resume(
        self, new: New, client: ResumableStream, dial: messages.Dial = DIAL
    ) -> trio.CancelScope:
        """Another transport for the stream. Raises what the agent says."""
        position, transport = await ask_to_resume(
            self.connect(dial),
            new,
            position=client.state.inbox.position,
            random_bytes=os.urandom,
        )
        return await self.attach(client, transport, position)


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    async with trio.open_nursery() as nursery:
        yield Site(nursery)
        nursery.cancel_scope.cancel()


async def receive(stream: ResumableStream, size: int) -> bytes:
    """Exactly `size` bytes."""
    got = b""
    while len(got) < size:
        got += await stream.receive_some(size - len(got))
    return got


async def test_a_stream_goes_on_over_another_transport(site: Site) -> None:
    new, client, cut = await site.begin()
    await client.send_all(b"one")
    assert await receive(client, 3) == b"one"
    cut.cancel()
    await client.send_all(b"two")
    await trio.testing.wait_all_tasks_blocked()
    await site.resume(new, client)
    assert await receive(client, 3) == b"two"
    await client.send_eof()
    assert await client.receive_some() == b""
    await client.wait_over()
    await trio.testing.wait_all_tasks_blocked()
    assert len(site.resumption) == 0


async def test_a_stream_that_is_not_known_is_refused(site: Site) -> None:
    with pytest.raises(UnavailableError) as caught:
        await site.resume(New.draw(os.urandom), ResumableStream(StreamState()))
    assert caught.value.code == "unknown_stream"


async def test_another_users_stream_is_refused(site: Site) -> None:
    new, client, cut = await site.begin()
    await client.send_all(b"x")
    await receive(client, 1)
    cut.cancel()
    mallory = messages.Dial(ticket="", kind="ssh", resume=True, user="usr_mallory")
    with pytest.raises(UnavailableError) as caught:
        await site.resume(new, client, mallory)
    assert caught.value.code == "wrong_user"


async def test_without_the_secret_the_live_transport_is_not_disturbed(site: Site) -> None:
    new, client, _ = await site.begin()
    await client.send_all(b"x")
    await receive(client, 1)
    thief = ResumableStream(StreamState())
    with pytest.raises(ProtocolError):
        await site.resume(new._replace(secret=os.urandom(32)), thief)
    await trio.testing.wait_all_tasks_blocked()
    await client.send_all(b"still here")
    assert await receive(client, 10) == b"still here"


async def test_a_second_stream_of_one_name_is_refused(site: Site) -> None:
    new, client, _ = await site.begin()
    await client.send_all(b"x")
    await receive(client, 1)
    again = site.connect()
    await again.send_all(encode_greeting(new))
    assert b"stream_exists" in await again.receive_some(1000)


async def test_what_is_no_hello_ends_that_transport_only(site: Site) -> None:
    transport = site.connect()
    await transport.send_all(b"GET / HTTP/1.1\r\n\r\n")
    await trio.testing.wait_all_tasks_blocked()
    assert len(site.resumption) == 0


async def detached(site: Site, count: int) -> list[tuple[New, ResumableStream]]:
    """Streams whose transports have been cut, the oldest first."""
    made = []
    for _ in range(count):
        new, client, cut = await site.begin()
        await client.send_all(b"x")
        await receive(client, 1)
        cut.cancel()
        await trio.testing.wait_all_tasks_blocked()
        made.append((new, client))
    return made


async def ends_with(site: Site, new: New, client: ResumableStream) -> str:
    """The reason a client is given when it comes back."""
    try:
        await site.resume(new, client)
        while await client.receive_some():
            pass
    except UnavailableError as error:
        return error.code
    except trio.BrokenResourceError as error:
        return str(error)
    return "alive"


async def test_a_stream_detached_for_too_long_is_ended_with_the_reason(site: Site) -> None:
    ((new, client),) = await detached(site, 1)
    site.resumption.enforce_limits(trio.current_time() + ResumeLimits().detached_s + 1)
    assert "detached for" in await ends_with(site, new, client)


async def test_too_many_waiting_streams_cost_the_oldest() -> None:
    async with trio.open_nursery() as nursery:
        site = Site(nursery, ResumeLimits(detached_max=2))
        made = await detached(site, 3)
        site.resumption.enforce_limits(trio.current_time())
        assert "more than 2" in await ends_with(site, *made[0])
        await site.resume(*made[1])
        await made[1][1].send_all(b"y")
        assert await receive(made[1][1], 1) == b"y"
        nursery.cancel_scope.cancel()


async def test_a_stream_ends_with_the_grant_it_began_with_whatever_carries_it(site: Site) -> None:
    """Attached, detached, and resumed with another token: what was opened is what ends."""
    attached, seen, _ = await site.begin()
    detached, _, cut = await site.begin()
    cut.cancel()
    resumed, client, cut = await site.begin()
    cut.cancel()
    other = dataclasses.replace(DIAL, grant="other")
    await trio.testing.wait_all_tasks_blocked()
    await site.resume(resumed, client, other)
    await trio.testing.wait_all_tasks_blocked()
    assert {grant for said in site.grants.report() for grant in said.grants} == {"first", "other"}
    assert site.grants.end(["unknown"]) == 0
    site.grants.end(["first"])
    await trio.testing.wait_all_tasks_blocked()
    assert not seen.attached
    assert len(site.resumption) == 0
    for new in (attached, detached, resumed):
        with pytest.raises(UnavailableError) as refused:
            await site.resume(new, ResumableStream(StreamState()), other)
        assert refused.value.code == "access_ended"
    assert site.grants.report() == []


async def test_a_stream_ends_with_the_grant_it_was_last_resumed_with(site: Site) -> None:
    new, client, cut = await site.begin()
    cut.cancel()
    await trio.testing.wait_all_tasks_blocked()
    await site.resume(new, client, dataclasses.replace(DIAL, grant="other"))
    site.grants.end(["other"])
    await trio.testing.wait_all_tasks_blocked()
    assert len(site.resumption) == 0
