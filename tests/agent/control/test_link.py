"""The agent's control link against a fake coordinator."""

from __future__ import annotations

import os
import sys
from dataclasses import replace

import cbor2
import pytest
import trio
import trio.testing
import trio_websocket

from kled_agent.control.grants import Grants
from kled_agent.control.key_uses import KeyUses
from kled_agent.control.link import LinkSettings, serve_link
from kled_agent.identity import Identity
from kled_agent.ssh.keys import AcceptedKeys
from kled_wire.control import messages
from kled_wire.control.link import CloseCode, ControlLink, LinkTimes
from kled_wire.errors import UnauthenticatedError, UnavailableError
from kled_wire.eventlog import EventLog
from kled_wire.transport.address import Address
from kled_wire.version import PROTOCOL
from tests.agent.control.coordinator import (
    WELCOME,
    Answer,
    Peer,
    converse,
    make_scripts,
    refuse,
    say,
    serving,
)
from tests.agent.control.linked import CAP_S, REFUSED_S, Running


def ended_with(peer: Peer) -> trio_websocket.CloseReason:
    """Why the agent has closed this connection."""
    assert peer.connection.closed is not None
    return peer.connection.closed


async def test_it_says_hello_and_is_welcomed(running: Running) -> None:
    hellos = []

    async def greet(peer: Peer) -> None:
        hellos.append(await peer.greet())
        await peer.answer_pings()

    async with running(converse(greet)) as agent:
        await agent.until(lambda: bool(agent.welcomes))
    [head] = agent.coordinator.heads
    assert head.path == "/api/v1/agent/control"
    assert head.headers["authorization"] == "Bearer kled_agent_x"
    assert hellos[0].protocol == PROTOCOL
    assert hellos[0].hostname == os.uname().nodename
    assert (hellos[0].os, hellos[0].arch) == (sys.platform, os.uname().machine)
    assert agent.welcomes == [WELCOME]


async def test_a_dial_is_handed_on_and_reports_come(running: Running) -> None:
    reports: list[messages.Report] = []

    async def dial(peer: Peer) -> None:
        await peer.greet()
        await peer.say(messages.Dial(ticket="t", kind="ssh"))
        while not reports:
            message = await peer.hear()
            if isinstance(message, messages.Report):
                reports.append(message)
        await peer.answer_pings()

    async with running(converse(dial)) as agent:
        await agent.until(lambda: bool(agent.dials and reports))
    assert agent.dials == [messages.Dial(ticket="t", kind="ssh")]
    assert reports[0].streams == 3
    assert 0 < reports[0].memory_used_bytes <= reports[0].memory_total_bytes


async def test_grants_are_said_at_the_welcome_and_when_asked_and_end_when_told(
    running: Running,
) -> None:
    said: list[tuple[str, ...]] = []

    async def ask(peer: Peer) -> None:
        await peer.greet()
        while len(said) < 2:
            message = await peer.hear()
            if isinstance(message, messages.GrantsHeld):
                said.append(message.grants)
                await peer.say(messages.ListGrants())
        await peer.say(messages.EndGrants(grants=("a", "unknown")))
        await peer.answer_pings()

    async with running(converse(ask)) as agent:
        with agent.grants.held(["b"]) as other, agent.grants.held(["", "a"]) as scope:
            with trio.fail_after(10):
                await trio.sleep_forever()
    assert scope.cancelled_caught
    assert not other.cancel_called
    assert said == [("a", "b"), ("a", "b")]


async def test_heartbeats_come_at_the_pace_of_the_welcome_with_the_round_trip(
    running: Running,
) -> None:
    pings = []

    async def count(peer: Peer) -> None:
        began = trio.current_time()
        await peer.greet(replace(WELCOME, heartbeat_s=0.02))
        while True:
            message = await peer.hear()
            if isinstance(message, messages.Ping):
                pings.append((trio.current_time() - began, message))
                await peer.say(messages.Pong(id=message.id))

    async with running(converse(count)) as agent:
        await agent.until(lambda: len(pings) >= 4)
    assert len({ping.id for _, ping in pings}) == len(pings)
    assert pings[3][0] >= 0.06
    assert pings[0][1].rtt_s == 0
    assert pings[3][1].rtt_s > 0


async def test_a_coordinator_that_stops_answering_is_noticed_and_dialled_again(
    running: Running,
) -> None:
    async def freeze(peer: Peer) -> None:
        await peer.greet()
        await trio.sleep_forever()

    async def well(peer: Peer) -> None:
        await peer.greet()
        await peer.answer_pings()

    async with running(converse(freeze), converse(well)) as agent:
        await agent.until(lambda: len(agent.welcomes) == 2)
    assert agent.records.having("heartbeat_failed")


@pytest.mark.parametrize(
    "error",
    [
        UnauthenticatedError("token_revoked", "revoked"),
        UnauthenticatedError("token_expired", "old"),
    ],
)
async def test_a_refused_token_is_reported_and_tried_again_slowly(
    running: Running, error: UnauthenticatedError
) -> None:
    async with running(refuse(error)) as agent:
        assert await agent.connected(2) >= REFUSED_S
    assert f"code={error.code}" in agent.records.having("agent_refused")[0]


@pytest.mark.parametrize(
    ("code", "stay_away_s"),
    [
        (CloseCode.TOKEN_REFUSED, REFUSED_S),
        (CloseCode.VERSION_UNSUPPORTED, REFUSED_S),
        (CloseCode.REPLACED, CAP_S),
        (CloseCode.GOING_AWAY, 0),
        (CloseCode.DEAD_PEER, 0),
    ],
)
async def test_the_close_code_says_how_long_to_stay_away(
    running: Running, code: CloseCode, stay_away_s: float
) -> None:
    async def close(peer: Peer) -> None:
        await peer.greet()
        await peer.connection.aclose(int(code), "because")

    async with running(converse(close)) as agent:
        await agent.until(lambda: bool(agent.records.having("link_closed")))
        assert agent.records.having("link_closed")[0] == (
            f"link_closed code={int(code)} reason=because"
        )
        assert await agent.connected(2) >= stay_away_s


async def test_a_shutdown_message_says_when_to_come_back(running: Running) -> None:
    async def stop(peer: Peer) -> None:
        await peer.greet()
        await peer.say(messages.Shutdown(reason="update", back_in_s=0.2))
        await peer.answer_pings()

    async with running(converse(stop)) as agent:
        assert await agent.connected(2) >= 0.2
    assert agent.records.having("coordinator_stopping")


@pytest.mark.parametrize(
    "answer",
    [
        say(b""),
        say(b"garbage\r\n\r\n"),
        say(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: other\r\n\r\n"),
        say(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 2\r\n\r\nhi"),
        refuse(UnavailableError("draining", "going down")),
    ],
)
async def test_whatever_answers_instead_the_agent_goes_on_dialling_with_backoff(
    running: Running, answer: Answer
) -> None:
    async with running(answer) as agent:
        await agent.connected(4)
    assert len(agent.records.having("link_failed")) >= 3


@pytest.mark.parametrize(
    "said",
    [b"\xff", "text", cbor2.dumps({"type": "ping", "id": 1}), cbor2.dumps({"type": "pong"})],
)
async def test_a_coordinator_that_begins_wrongly_is_told_and_left(
    running: Running, said: bytes | str
) -> None:
    told = []

    async def wrong(peer: Peer) -> None:
        await peer.hear()
        await peer.connection.send_message(said)
        try:
            while True:
                await peer.connection.get_message()
        except trio_websocket.ConnectionClosed:
            told.append(ended_with(peer))

    async with running(converse(wrong)) as agent:
        await agent.until(lambda: bool(told))
    assert told[0].code == CloseCode.PROTOCOL_ERROR


async def test_a_message_that_is_not_for_agents_ends_the_link(running: Running) -> None:
    told = []

    async def wrong(peer: Peer) -> None:
        await peer.greet()
        await peer.say(WELCOME)
        try:
            await peer.answer_pings()
        finally:
            told.append(ended_with(peer))

    async with running(converse(wrong)) as agent:
        await agent.until(lambda: bool(told))
    assert told[0].code == CloseCode.PROTOCOL_ERROR
    assert told[0].reason is not None
    assert "welcome must not be sent to an agent" in told[0].reason


async def test_an_agent_that_stops_says_that_it_goes_and_waits_for_the_answer_alone(
    log: EventLog,
) -> None:
    told = []
    done, ended = trio.Event(), trio.Event()

    async def watch(peer: Peer) -> None:
        await peer.greet()
        await peer.answer_pings()
        told.append(ended_with(peer))
        done.set()

    async with serving(converse(watch)) as coordinator, trio.open_nursery() as nursery:
        up = trio.Event()
        identity = Identity(
            coordinator_url=coordinator.url, token="t", host_key="", host_public_key=""
        )
        settings = LinkSettings(
            identity=identity, on_dial=_nothing, on_welcome=lambda _: up.set(),
            count_streams=lambda: 0, grants=Grants(), log=log,
            scripts=make_scripts(log), on_spec=lambda _: None,
            keys=AcceptedKeys(),
            key_uses=KeyUses(log), times=LinkTimes(goodbye_s=40.0),
        )  # fmt: skip

        async def serve() -> None:
            try:
                await serve_link(settings)
            finally:
                ended.set()

        nursery.start_soon(serve)
        await up.wait()
        nursery.cancel_scope.cancel()
        with trio.fail_after(20, shield=True):
            await done.wait()
            await ended.wait()
    assert told[0].code == CloseCode.GOING_AWAY


def _nothing(_dial: messages.Dial, _link: ControlLink) -> None:
    return


async def test_an_agent_that_stops_in_the_moment_of_a_dial_ends(log: EventLog) -> None:
    identity = Identity(coordinator_url="http://x", token="t", host_key="", host_public_key="")
    with trio.CancelScope() as stopped:

        async def connect(address: Address, *, ssl_context: object) -> trio.abc.HalfCloseableStream:
            stopped.cancel()
            return trio.testing.memory_stream_pair()[0]

        await serve_link(
            LinkSettings(
                identity=identity, on_dial=_nothing, on_welcome=lambda _: None,
                count_streams=lambda: 0, grants=Grants(), log=log,
                scripts=make_scripts(log), on_spec=lambda _: None,
                keys=AcceptedKeys(), key_uses=KeyUses(log), connect=connect,
            )
        )  # fmt: skip
    assert stopped.cancelled_caught
