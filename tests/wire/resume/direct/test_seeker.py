"""A stream that leaves the relay for a direct path and comes back, on real sockets."""

from __future__ import annotations

import hashlib
import os
import random
from collections.abc import AsyncIterator
from functools import partial

import pytest
import trio
import trio.testing

from kled_wire.errors import ProtocolError
from kled_wire.resume.direct.offer import Candidate, Offer, encode_offer
from kled_wire.resume.direct.paths import ATTEMPT_S, OFFER_PACE_S, Paths
from kled_wire.resume.direct.seeker import DirectSeeker
from kled_wire.resume.driver import TransportLost
from kled_wire.resume.frames import New
from kled_wire.resume.handshake import admit, read_hello
from kled_wire.resume.redial import keep_attached
from kled_wire.resume.state import StreamState
from kled_wire.resume.stream import ResumableStream

HERE = "test"


class Agent:
    """The agent's end of one stream; it is reached over a relay and, where it offers, directly."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self.stream = ResumableStream(StreamState())
        self.relay_is_up = True
        self.relay_dials = 0
        self.direct_moves = 0
        self.attempts = 0
        self.port = 0
        self._nursery = nursery
        self._new: New | None = None
        self._relayed: list[trio.SocketStream] = []
        self._direct: list[trio.SocketStream] = []

    async def listen(self) -> None:
        """Take direct transports."""
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        self.port = listener.socket.getsockname()[1]
        serve = partial(trio.serve_listeners, self._serve_direct, [listener])
        self._nursery.start_soon(serve)

    def offer(self, *ports: int) -> None:
        """Tell the client."""
        candidates = tuple(Candidate("127.0.0.1", port) for port in ports)
        self.stream.state.offer(encode_offer(Offer(candidates, HERE, "none")))
        self.stream.flush_nowait()

    async def dial(self) -> trio.abc.HalfCloseableStream:
        """What the client dials: a relay."""
        if not self.relay_is_up:
            raise OSError("the coordinator is down")
        self.relay_dials += 1
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        async with listeners[0] as listener:
            near = await trio.testing.open_stream_to_socket_listener(listener)
            far = await listener.accept()
        self._relayed = [near, far]
        self._nursery.start_soon(self._serve, far, False)
        return near

    async def cut_relay(self) -> None:
        for end in self._relayed:
            await trio.aclose_forcefully(end)

    async def cut_direct(self) -> None:
        for end in self._direct:
            await trio.aclose_forcefully(end)
        self._direct.clear()

    async def _serve_direct(self, transport: trio.SocketStream) -> None:
        self._direct.append(transport)
        self.attempts += 1
        await self._serve(transport, True)

    async def _serve(self, transport: trio.abc.HalfCloseableStream, direct: bool) -> None:
        try:
            hello, transport = await read_hello(transport)
            position = 0
            if isinstance(hello, New):
                self._new = hello
            else:
                assert self._new is not None
                transport = await admit(
                    transport,
                    hello,
                    secret=self._new.secret,
                    position=self.stream.state.inbox.position,
                    random_bytes=os.urandom,
                )
                position = hello.received
                self.direct_moves += direct
            await self.stream.run_transport(transport, position, direct=direct)
        except (TransportLost, ProtocolError, trio.BrokenResourceError, trio.ClosedResourceError):
            return
        finally:
            await trio.aclose_forcefully(transport)


class Site:
    """A client's stream kept attached to the agent's."""

    def __init__(self, nursery: trio.Nursery, *, disabled: str = "") -> None:
        self.agent = Agent(nursery)
        # A die that always says: at once. The pauses are the business of test_paths.py.
        self.seeker = DirectSeeker(Paths(lambda: HERE, lambda: -1.0, disabled=disabled), os.urandom)
        self.client = ResumableStream(StreamState())
        self.heard: list[str] = []
        nursery.start_soon(
            partial(
                keep_attached,
                self.client,
                New.draw(os.urandom),
                self.agent.dial,
                random_bytes=os.urandom,
                direct=self.seeker,
                on_lost=self.heard.append,
                on_resumed=lambda: self.heard.append(""),
            )
        )

    async def say(self, words: bytes) -> None:
        """There and back."""
        await self.client.send_all(words)
        assert await self.agent.stream.receive_some() == words
        await self.agent.stream.send_all(words)
        assert await self.client.receive_some() == words

    async def offer(self, *ports: int) -> None:
        """The agent offers, and the client has heard it."""
        self.agent.offer(*ports)
        await self.say(b"offered")

    async def until(self, kind: str) -> None:
        """Wait for the path to be of a kind."""
        with trio.fail_after(20):
            while self.seeker.report().kind != kind or not self.client.attached:
                await trio.sleep(0.005)


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    async with trio.open_nursery() as nursery:
        made = Site(nursery)
        await made.agent.listen()
        await made.say(b"begin")
        yield made
        nursery.cancel_scope.cancel()


async def test_a_stream_moves_to_a_path_that_is_offered(site: Site) -> None:
    assert site.seeker.report().kind == "relay"
    site.agent.offer(site.agent.port)
    await site.until("direct")
    await site.say(b"directly")
    report = site.seeker.report()
    assert report.address == f"127.0.0.1:{site.agent.port}"
    assert report.rtt_s < 1
    assert site.agent.relay_dials == 1


async def test_it_comes_back_to_the_relay_and_goes_again(site: Site) -> None:
    site.agent.offer(site.agent.port)
    for moves in range(1, 4):
        await site.until("direct")
        await site.say(b"on the path")
        assert site.agent.direct_moves == moves
        await site.agent.cut_direct()
        await site.say(b"wherever")
    assert site.heard == []


async def test_the_relay_may_go_while_a_path_carries(site: Site) -> None:
    site.agent.offer(site.agent.port)
    await site.until("direct")
    site.agent.relay_is_up = False
    await site.agent.cut_relay()
    await site.say(b"no relay")
    await site.agent.cut_direct()
    await site.say(b"still none")
    await site.until("direct")
    site.agent.relay_is_up = True
    await site.say(b"and with one")


async def test_who_is_not_the_agent_gets_nothing(site: Site) -> None:
    async with trio.open_nursery() as nursery:
        other = Agent(nursery)
        other._new = New.draw(os.urandom)
        await other.listen()
        await site.offer(other.port)
        await site.seeker.wait_settled()
        assert site.seeker.report().reason.endswith("not the agent of this stream")
        await site.say(b"on the relay")
        assert other.direct_moves == 0
        nursery.cancel_scope.cancel()


async def test_what_does_not_answer_is_said_and_the_first_that_does_is_taken(
    mock_clock: trio.testing.MockClock,
) -> None:
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    closed = listener.socket.getsockname()[1]
    await listener.aclose()
    mock_clock.rate = 1
    async with trio.open_nursery() as nursery:
        site = Site(nursery)
        await site.agent.listen()
        await site.say(b"begin")
        await site.offer(closed)
        await site.seeker.wait_settled()
        assert site.seeker.report().reason == f"direct 127.0.0.1:{closed}: refused"
        await site.offer(closed, site.agent.port)
        mock_clock.jump(OFFER_PACE_S)
        await site.until("direct")
        nursery.cancel_scope.cancel()


async def silent() -> trio.SocketListener:
    """Where something takes connections and never says a word."""
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    return listener


async def test_an_offer_does_not_wait_for_silent_addresses_of_the_one_before(
    mock_clock: trio.testing.MockClock,
) -> None:
    async with trio.open_nursery() as nursery:
        site = Site(nursery)
        await site.agent.listen()
        await site.say(b"begin")
        async with await silent() as listener:
            await site.offer(listener.socket.getsockname()[1])
            async with await listener.accept():
                mock_clock.jump(ATTEMPT_S)
                async with await listener.accept():
                    await site.offer(site.agent.port)
                    mock_clock.jump(OFFER_PACE_S - ATTEMPT_S)
                    while site.seeker.report().kind != "direct":
                        await site.say(b"meanwhile")
        nursery.cancel_scope.cancel()


async def test_who_wants_no_direct_path_stays_on_the_relay() -> None:
    async with trio.open_nursery() as nursery:
        site = Site(nursery, disabled="KLED_DIRECT is off")
        await site.agent.listen()
        site.agent.offer(site.agent.port)
        await site.say(b"begin")
        await site.seeker.wait_settled()
        assert str(site.seeker.report()) == "relay (KLED_DIRECT is off)"
        assert site.agent.direct_moves == 0
        nursery.cancel_scope.cancel()


async def test_a_path_waits_until_the_relay_has_been_greeted(site: Site) -> None:
    """Else the two ends could hold different transports for the newest."""
    heard = site.client.state.on_offer

    def hear(payload: bytes) -> None:
        heard(payload)
        site.seeker.relay_greets()

    site.client.state.on_offer = hear
    site.agent.offer(site.agent.port)
    while not site.agent.attempts:
        await site.say(b"on the relay")
    for _ in range(20):
        await site.say(b"still there")
    assert site.agent.direct_moves == 0
    site.seeker.relay_lost()
    await site.until("direct")


async def send(stream: ResumableStream, data: bytes) -> None:
    for start in range(0, len(data), 50_000):
        await stream.send_all(data[start : start + 50_000])
    await stream.send_eof()


async def digest(found: dict[str, str], name: str, stream: ResumableStream) -> None:
    whole = hashlib.sha256()
    while data := await stream.receive_some():
        whole.update(data)
    found[name] = whole.hexdigest()


async def test_bytes_survive_moves_in_both_directions(site: Site) -> None:
    size = 40_000_000
    there, back = random.Random(1).randbytes(size), random.Random(2).randbytes(size)
    found: dict[str, str] = {}
    site.agent.offer(site.agent.port)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(send, site.client, there)
        nursery.start_soon(send, site.agent.stream, back)
        nursery.start_soon(digest, found, "there", site.agent.stream)
        nursery.start_soon(digest, found, "back", site.client)
        for number in range(1, 9):
            while site.client.state.inbox.received < number * size // 10:
                await trio.sleep(0.001)
            await (site.agent.cut_direct if number % 2 else site.agent.cut_relay)()
    assert site.agent.direct_moves > 2
    assert found["there"] == hashlib.sha256(there).hexdigest()
    assert found["back"] == hashlib.sha256(back).hexdigest()
