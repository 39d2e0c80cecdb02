"""The agent's direct listener, on real sockets: who gets in, and what strangers learn."""

from __future__ import annotations

import ipaddress
import logging
import os
from collections.abc import AsyncIterator

import pytest
import trio
import trio.testing

from kled_agent.control.direct import (
    GREETING_PER_ADDRESS_MAX,
    AdmissionLimiter,
    DirectListener,
    DirectSettings,
)
from kled_agent.control.grants import Grants
from kled_agent.control.resumption import ResumeLimits, Resumption
from kled_wire.control import messages
from kled_wire.errors import ProtocolError, UnavailableError
from kled_wire.eventlog import EventLog
from kled_wire.resume.direct.offer import decode_offer
from kled_wire.resume.driver import TransportLost
from kled_wire.resume.frames import Challenge, New, Resume, encode_greeting
from kled_wire.resume.handshake import ask_to_resume, read_greeting
from kled_wire.resume.state import StreamState
from kled_wire.resume.stream import ResumableStream
from tests.agent.control.application import echo

LOG = EventLog(logging.getLogger("test"))


class Site:
    """An agent that listens, and the relay's side in memory."""

    def __init__(self, nursery: trio.Nursery, bounds: ResumeLimits | None = None) -> None:
        self.nursery = nursery
        self.grants = Grants()
        self.resumption = Resumption(nursery, bounds or ResumeLimits(), self.grants)
        self.direct = DirectListener(DirectSettings(listen="private"), self.resumption, LOG)
        self.port = 0
        self._connections: list[trio.SocketStream] = []

    async def begin(self, kind: str = "ssh") -> tuple[New, ResumableStream]:
        """A stream that the relay carries, echoing."""
        new, client = New.draw(os.urandom), ResumableStream(StreamState())
        near, far = trio.testing.memory_stream_pair()
        dial = messages.Dial(ticket="", kind=kind, resume=True, user="usr_alice", grant="one")
        self.nursery.start_soon(self.resumption.serve, far, dial, LOG, echo)
        await near.send_all(encode_greeting(new))
        self.nursery.start_soon(self._carry, client, near, 0)
        await say(client, b"over the relay")
        return new, client

    async def connect(self, host: str = "127.0.0.1") -> trio.SocketStream:
        self._connections.append(await trio.open_tcp_stream(host, self.port))
        return self._connections[-1]

    async def close(self) -> None:
        """End everything."""
        for stream in self._connections:
            await trio.aclose_forcefully(stream)
        self.nursery.cancel_scope.cancel()

    async def move(self, new: New, client: ResumableStream, host: str = "127.0.0.1") -> None:
        """Take the stream to a direct path. Raises what the agent says."""
        position, transport = await ask_to_resume(
            await self.connect(host),
            new,
            position=client.state.inbox.position,
            random_bytes=os.urandom,
        )
        self.nursery.start_soon(self._carry, client, transport, position)
        await trio.testing.wait_all_tasks_blocked()

    async def _carry(
        self, client: ResumableStream, transport: trio.abc.HalfCloseableStream, position: int
    ) -> None:
        try:
            await client.run_transport(
                transport, position, direct=isinstance(transport, trio.SocketStream)
            )
        except TransportLost:
            return


async def say(client: ResumableStream, words: bytes) -> None:
    """There and back."""
    await client.send_all(words)
    got = b""
    while len(got) < len(words):
        got += await client.receive_some()
    assert got == words


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    async with trio.open_nursery() as nursery:
        made = Site(nursery)
        made.port = await nursery.start(made.direct.serve)
        yield made
        await made.close()


async def until_ended(stream: trio.SocketStream) -> bytes:
    """What comes until the agent closes."""
    got = b""
    with trio.fail_after(20):
        try:
            while data := await stream.receive_some():
                got += data
        except trio.BrokenResourceError:
            pass
    return got


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_a_stream_moves_over_and_is_counted(site: Site, host: str) -> None:
    new, client = await site.begin()
    assert site.direct.open_streams == 0
    await site.move(new, client, host)
    await say(client, b"directly")
    assert site.direct.open_streams == 1
    await client.send_eof()
    assert await client.receive_some() == b""
    await client.wait_over()


async def test_a_stream_cannot_begin_here(site: Site) -> None:
    stranger = await site.connect()
    await stranger.send_all(encode_greeting(New.draw(os.urandom)))
    assert b"resume_only" in await until_ended(stranger)
    assert len(site.resumption) == 0


async def test_a_wrong_secret_disturbs_nothing(site: Site) -> None:
    new, client = await site.begin()
    with pytest.raises(ProtocolError) as caught:
        await site.move(new._replace(secret=os.urandom(32)), ResumableStream(StreamState()))
    assert caught.value.code == "proof_wrong"
    await say(client, b"still here")


async def test_a_stranger_cannot_tell_which_streams_there_are(site: Site) -> None:
    new, _ = await site.begin()
    answers = []
    for name in (new.id, os.urandom(16)):
        stranger = await site.connect()
        await stranger.send_all(encode_greeting(Resume(name, os.urandom(32), 0)))
        answer, transport = await read_greeting(stranger)
        assert isinstance(answer, Challenge)
        await transport.send_all(b"KLR1P" + os.urandom(32))
        answers.append(await until_ended(stranger))
    assert answers == [b"", b""]


async def test_what_is_not_encrypted_end_to_end_stays_on_the_relay(site: Site) -> None:
    new, client = await site.begin("tcp")
    heard: list[bytes] = []
    client.state.on_offer = heard.append
    with pytest.raises(ProtocolError):
        await site.move(new, client)
    site.resumption.offer(b"at - 10.0.0.5:40022")
    await say(client, b"on the relay")
    assert heard == []


async def test_a_crowd_of_strangers_does_not_hold_others_up(site: Site) -> None:
    new, client = await site.begin()
    crowd = [await site.connect() for _ in range(GREETING_PER_ADDRESS_MAX + 5)]
    await trio.testing.wait_all_tasks_blocked()
    assert await until_ended(crowd[-1]) == b""
    await site.move(new, client, "::1")
    await say(client, b"from another address")


@pytest.mark.parametrize("words", [b"GET / HTTP/1.1\r\n\r\n", b"SSH-2.0-x\r\n", b"\0" * 5000])
async def test_other_protocols_are_hung_up_on(site: Site, words: bytes) -> None:
    stranger = await site.connect()
    await stranger.send_all(words)
    assert await until_ended(stranger) == b""


async def test_addresses_are_offered_inside_the_stream(site: Site) -> None:
    new, client = New.draw(os.urandom), ResumableStream(StreamState())
    heard: list[bytes] = []
    client.state.on_offer = heard.append
    near, far = trio.testing.memory_stream_pair()
    dial = messages.Dial(ticket="", kind="ssh", resume=True, user="usr_alice")
    site.nursery.start_soon(site.resumption.serve, far, dial, LOG, echo)
    await near.send_all(encode_greeting(new))
    site.nursery.start_soon(site._carry, client, near, 0)
    await say(client, b"x")
    (offer,) = map(decode_offer, heard)
    assert ("127.0.0.1", site.port) in offer.candidates


async def test_where_it_is_off_clients_are_told_so() -> None:
    async with trio.open_nursery() as nursery:
        resumption = Resumption(nursery, ResumeLimits(), Grants())
        off = DirectListener(DirectSettings(), resumption, LOG)
        assert await nursery.start(off.serve) == 0
        assert decode_offer(resumption._offer).reason == "direct_listen is off"


async def test_where_it_cannot_listen_clients_are_told_why() -> None:
    async with trio.open_nursery() as nursery:
        resumption = Resumption(nursery, ResumeLimits(), Grants())
        taken = (await trio.open_tcp_listeners(0, host="127.0.0.1"))[0]
        settings = DirectSettings(
            listen="any", host="127.0.0.1", port=taken.socket.getsockname()[1]
        )
        direct = DirectListener(settings, resumption, LOG)
        assert await nursery.start(direct.serve) == 0
        assert "cannot listen" in decode_offer(resumption._offer).reason
        await taken.aclose()


async def test_a_stream_is_sent_back_when_the_coordinator_is_to_vouch_again() -> None:
    async with trio.open_nursery() as nursery:
        site = Site(nursery, ResumeLimits(vouched_s=0.5))
        site.port = await nursery.start(site.direct.serve)
        new, client = await site.begin()
        await site.move(new, client)
        with trio.fail_after(20):
            while client.attached:
                await trio.sleep(0.01)
        assert site.direct.open_streams == 0
        with pytest.raises(ProtocolError):
            await site.move(new, client)
        await site.close()


async def test_only_ones_own_networks_are_let_in_where_it_is_private() -> None:
    direct = DirectListener(DirectSettings(listen="private"), Resumption.__new__(Resumption), LOG)
    let_in = {
        host: direct._is_welcome(ipaddress.ip_address(host))
        for host in ("10.0.0.1", "127.0.0.1", "fe80::1", "fd00::1", "203.0.113.1", "2001:db8::1")
    }
    assert [host for host, welcome in let_in.items() if not welcome] == [
        "203.0.113.1",
        "2001:db8::1",
    ]


def test_the_limiter_counts_by_address_and_in_all() -> None:
    limiter = AdmissionLimiter(most=3, per_address=2)
    one, two = ipaddress.ip_address("fd00::1"), ipaddress.ip_address("fd00::2")
    other, third = ipaddress.ip_address("10.0.0.1"), ipaddress.ip_address("10.0.0.2")
    assert limiter.enter(one)
    assert limiter.enter(two)
    assert not limiter.enter(one)
    assert limiter.enter(other)
    assert not limiter.enter(third)
    limiter.leave(one)
    assert limiter.enter(third)


async def test_an_unknown_stream_is_told_at_the_relay() -> None:
    async with trio.open_nursery() as nursery:
        site = Site(nursery)
        near, far = trio.testing.memory_stream_pair()
        dial = messages.Dial(ticket="", kind="ssh", resume=True, user="usr_alice")
        nursery.start_soon(site.resumption.serve, far, dial, LOG, echo)
        with pytest.raises(UnavailableError):
            await ask_to_resume(near, New.draw(os.urandom), position=0, random_bytes=os.urandom)


async def test_a_direct_stream_ends_with_its_grant_and_does_not_come_back(site: Site) -> None:
    new, client = await site.begin()
    await site.move(new, client)
    await say(client, b"directly")
    site.grants.end(["one"])
    with trio.fail_after(20):
        while site.direct.open_streams:
            await trio.sleep(0.005)
    assert len(site.resumption) == 0
    with pytest.raises(ProtocolError):
        await site.move(new, client)
