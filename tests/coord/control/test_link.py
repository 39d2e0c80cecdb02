"""Control links end to end: the real front, identity, store; agents that misbehave."""

from __future__ import annotations

import contextlib
import dataclasses
from datetime import timedelta

import cbor2
import pytest
import trio
import trio.testing
import trio_websocket

from kled_wire import limits
from kled_wire.control import codec, messages
from kled_wire.control.link import CloseCode, LinkTimes
from kled_wire.errors import UnavailableError
from kled_wire.names import AgentId
from kled_wire.version import PROTOCOL
from tests.coord.control.plant import (
    AGENT,
    HELLO,
    Plant,
)


async def test_hello_is_answered_with_who_the_agent_is(plant: Plant) -> None:
    async with plant.agent() as agent:
        await agent.say(HELLO)
        welcome = await agent.hear()
    assert isinstance(welcome, messages.Welcome)
    assert (welcome.agent_id, welcome.workspace, welcome.owner) == ("agt_a", "dev", "alice")
    assert (welcome.protocol, welcome.heartbeat_s) == (PROTOCOL, limits.HEARTBEAT_S)


async def test_coming_and_going_are_noted(plant: Plant) -> None:
    async with plant.welcomed():
        assert plant.registry.state(AgentId("agt_a")) is not None
    with trio.fail_after(10):
        while len(plant.agents.notes) < 2:
            await trio.sleep(0.005)
    assert plant.agents.notes == [("agt_a", True, "box"), ("agt_a", False, "")]
    assert plant.registry.state(AgentId("agt_a")) is None


async def test_a_store_in_trouble_does_not_end_the_link(plant: Plant) -> None:
    plant.agents.trouble = True
    async with plant.welcomed() as agent:
        await agent.say(messages.Ping(id=1))
        assert await agent.hear() == messages.Pong(id=1)


async def test_pings_and_reports_are_remembered(plant: Plant) -> None:
    async with plant.welcomed() as agent:
        plant.clock.advance(7)
        report = messages.Report(memory_total_bytes=8, memory_used_bytes=4, streams=2)
        await agent.say(report)
        await agent.say(messages.Ping(id=1, rtt_s=0.125))
        await agent.hear()
        state = plant.registry.state(AgentId("agt_a"))
        assert state is not None
        assert (state.report, state.rtt_s) == (report, 0.125)
        assert state.last_seen_at - state.connected_at == timedelta(seconds=7)


async def test_the_coordinator_measures_a_round_trip(plant: Plant) -> None:
    async with plant.welcomed() as agent, trio.open_nursery() as nursery:

        async def answer() -> None:
            ping = await agent.hear()
            assert isinstance(ping, messages.Ping)
            await agent.say(messages.Pong(id=ping.id))

        nursery.start_soon(answer)
        assert 0 < await plant.registry.ping(AgentId("agt_a")) < 5


async def test_a_dial_goes_out_and_its_failure_comes_back(plant: Plant) -> None:
    async with plant.welcomed() as agent:
        await plant.registry.send(AgentId("agt_a"), messages.Dial(ticket="t", kind="ssh"))
        assert await agent.hear() == messages.Dial(ticket="t", kind="ssh")
        await agent.say(messages.DialFailed(ticket="t", code="c", message="m"))
        await agent.say(messages.Ping(id=1))
        await agent.hear()
    assert plant.failed == [("t", "c", "m")]


async def test_an_unknown_type_is_answered_with_unsupported(plant: Plant) -> None:
    async with plant.welcomed() as agent:
        await agent.connection.send_message(cbor2.dumps({"type": "telemetry"}))
        assert await agent.hear() == messages.Unsupported(of="telemetry")
        await agent.say(messages.Ping(id=1))
        assert await agent.hear() == messages.Pong(id=1)


@pytest.mark.parametrize("name", ["before", "after"])
@pytest.mark.parametrize(
    ("said", "code"),
    [
        (b"\xff\xff", CloseCode.PROTOCOL_ERROR),
        (b"", CloseCode.PROTOCOL_ERROR),
        ("text", CloseCode.PROTOCOL_ERROR),
        (cbor2.dumps([1, 2]), CloseCode.PROTOCOL_ERROR),
        (cbor2.dumps({"type": "ping", "id": "x"}), CloseCode.PROTOCOL_ERROR),
        (codec.encode(messages.Dial(ticket="t", kind="ssh")), CloseCode.PROTOCOL_ERROR),
        (bytes(limits.CONTROL_MESSAGE_MAX_BYTES + 1), CloseCode.TOO_LARGE),
    ],
    ids=["no cbor", "empty", "text", "no map", "malformed", "out of order", "too large"],
)
async def test_a_bad_message_closes_its_link_with_a_reason_and_no_other(
    plant: Plant, said: bytes | str, code: CloseCode, name: str
) -> None:
    async with plant.welcomed("good") as good:
        async with plant.welcomed("bad") if name == "after" else plant.agent("bad") as bad:
            with contextlib.suppress(trio_websocket.ConnectionClosed):
                await bad.connection.send_message(said)
            closed, reason = await bad.closed()
            assert closed == code
            assert reason
        await good.say(messages.Ping(id=1))
        assert await good.hear() == messages.Pong(id=1)
        # The agent is welcome again.
        async with plant.welcomed("bad"):
            pass


@pytest.mark.parametrize(
    "message", [messages.Ping(id=1), messages.Pong(id=1), messages.Unsupported(of="x")]
)
@pytest.mark.parametrize("times", [LinkTimes(hello_s=0.2)], ids=["soon"])
async def test_something_before_hello_is_out_of_order(
    plant: Plant, message: messages.Message
) -> None:
    async with plant.agent() as agent:
        await agent.say(message)
        code, reason = await agent.closed()
    assert code == CloseCode.PROTOCOL_ERROR
    assert "hello" in reason
    assert plant.registry.state(AgentId("agt_a")) is None


async def test_a_second_hello_is_out_of_order(plant: Plant) -> None:
    async with plant.welcomed() as agent:
        await agent.say(HELLO)
        assert await agent.closed() == (CloseCode.PROTOCOL_ERROR, "hello out of order")


@pytest.mark.parametrize("times", [LinkTimes(hello_s=0.1)], ids=["soon"])
async def test_no_hello_is_not_waited_for(plant: Plant) -> None:
    async with plant.agent() as agent:
        assert await agent.closed() == (CloseCode.PROTOCOL_ERROR, "no hello was received")


@pytest.mark.parametrize("protocol", ["2.0", "0.9", ""])
async def test_another_protocol_is_told_ours(plant: Plant, protocol: str) -> None:
    async with plant.agent() as agent:
        await agent.say(messages.Hello(protocol=protocol, version="1"))
        code, reason = await agent.closed()
    assert code == CloseCode.VERSION_UNSUPPORTED
    assert PROTOCOL in reason
    with trio.fail_after(5):
        asking = await plant.identity.authenticate_agent("kled_agent_a")
        assert PROTOCOL in await plant.registry.wait_refused(asking, plant.clock())


async def test_a_newer_link_of_the_same_agent_wins_and_the_older_is_told(plant: Plant) -> None:
    async with plant.welcomed() as older, plant.welcomed() as newer:
        assert (await older.closed())[0] == CloseCode.REPLACED
        await newer.say(messages.Ping(id=1))
        assert await newer.hear() == messages.Pong(id=1)
        assert plant.registry.state(AgentId("agt_a")) is not None
        # The older one's going is not the agent's.
        assert all(connected for _, connected, _ in plant.agents.notes)


async def test_a_token_that_is_not_known_or_revoked_is_401(plant: Plant) -> None:
    plant.identity.revoked.add("kled_agent_old")
    for token, code in (("kled_agent_old", b"token_revoked"), ("x", b"token_unknown")):
        async with await trio.open_tcp_stream("127.0.0.1", plant.port) as stream:
            await stream.send_all(
                b"GET /api/v1/agent/control HTTP/1.1\r\nConnection: Upgrade\r\n"
                b"Upgrade: websocket\r\nAuthorization: Bearer " + token.encode() + b"\r\n\r\n"
            )
            await stream.send_eof()
            answer = b""
            with trio.fail_after(10):
                while data := await stream.receive_some():
                    answer += data
        assert answer.startswith(b"HTTP/1.1 401")
        assert code in answer


async def test_a_token_revoked_while_connected_closes_with_4001(plant: Plant) -> None:
    async with plant.welcomed() as agent:
        plant.registry.drop(AgentId("agt_a"), "the workspace was deleted")
        assert await agent.closed() == (CloseCode.TOKEN_REFUSED, "the workspace was deleted")


async def test_going_down_says_when_we_are_back_and_closes_with_1001(plant: Plant) -> None:
    async with plant.welcomed("a") as a, plant.welcomed("b") as b:
        plant.registry.end_all("going down", back_in_s=2.0)
        farewell = messages.Shutdown(reason="going down", back_in_s=2.0)
        assert await a.hear() == await b.hear() == farewell
        assert await a.closed() == (CloseCode.GOING_AWAY, "going down")
        assert await b.closed() == (CloseCode.GOING_AWAY, "going down")


async def test_a_workspace_that_has_just_gone_ends_only_its_own_link(plant: Plant) -> None:
    async with plant.welcomed("good") as good:
        plant.agents.gone = True
        async with plant.agent("late") as agent:
            await agent.say(HELLO)
            code, reason = await agent.closed()
            assert (code, reason) == (CloseCode.GOING_AWAY, "gone")
        await good.say(messages.Ping(id=1))
        assert await good.hear() == messages.Pong(id=1)


@pytest.mark.parametrize(
    "headers", ["", "Sec-WebSocket-Version: 13\r\n", "Sec-WebSocket-Key: x\r\n"]
)
async def test_half_a_websocket_request_ends_alone(plant: Plant, headers: str) -> None:
    async with await trio.open_tcp_stream("127.0.0.1", plant.port) as stream:
        await stream.send_all(
            b"GET /api/v1/agent/control HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\n"
            b"Upgrade: websocket\r\nAuthorization: Bearer kled_agent_a\r\n"
            + headers.encode() + b"\r\n"
        )  # fmt: skip
        with trio.fail_after(10):
            with contextlib.suppress(trio.BrokenResourceError):
                assert b" 101 " not in await stream.receive_some()
    async with plant.welcomed():
        pass


KNOWS_KEYS = dataclasses.replace(HELLO, features=(messages.KEYS_FEATURE,))
ONE = messages.UserKey(id="key_" + "a" * 20, user="usr_1", key="ssh-ed25519 AAAA", expires_in_s=9)
TWO = dataclasses.replace(ONE, id="key_" + "b" * 20)


async def test_the_whole_list_of_keys_comes_with_the_welcome_and_with_each_change(
    plant: Plant,
) -> None:
    plant.keys.good = (ONE,)
    async with plant.welcomed(hello=KNOWS_KEYS) as agent, trio.open_nursery() as nursery:
        assert await agent.hear() == messages.SetKeys(number=1, keys=(ONE,))
        await agent.say(messages.KeysSet(number=1))
        plant.keys.good = (ONE, TWO)
        nursery.start_soon(plant.set_keys)
        assert await agent.hear() == messages.SetKeys(number=2, keys=(ONE, TWO))
        await trio.testing.wait_all_tasks_blocked()
        assert nursery.child_tasks
        await agent.say(messages.KeysSet(number=2))


async def test_a_list_that_changes_while_it_is_read_is_sent_again(plant: Plant) -> None:
    plant.keys.good = (ONE,)

    def change() -> None:
        if not plant.keys.changes:
            plant.keys.good, plant.keys.changes = (), 1

    plant.keys.on_read = change
    async with plant.welcomed(hello=KNOWS_KEYS) as agent:
        assert await agent.hear() == messages.SetKeys(number=1, keys=(ONE,))
        assert await agent.hear() == messages.SetKeys(number=2, keys=())


async def test_an_agent_that_knows_no_keys_gets_none_and_none_are_waited_for(
    plant: Plant,
) -> None:
    plant.keys.good = (ONE,)
    async with plant.welcomed() as agent:
        await plant.set_keys()
        await agent.say(messages.Ping(id=1))
        assert await agent.hear() == messages.Pong(id=1)


async def test_an_agent_that_leaves_without_an_answer_is_waited_for_no_longer(
    plant: Plant,
) -> None:
    async with trio.open_nursery() as nursery, plant.welcomed(hello=KNOWS_KEYS) as agent:
        await agent.hear()

        async def ask() -> None:
            with pytest.raises(UnavailableError):
                await plant.set_keys()

        nursery.start_soon(ask)
        await agent.hear()


async def test_an_answer_to_a_list_that_was_never_sent_is_out_of_order(plant: Plant) -> None:
    async with plant.welcomed(hello=KNOWS_KEYS) as agent:
        await agent.say(messages.KeysSet(number=2))
        assert (await agent.closed())[0] == CloseCode.PROTOCOL_ERROR


async def test_a_key_use_is_noted_once_for_each_dial(plant: Plant) -> None:
    async with plant.welcomed() as agent:
        await plant.registry.send(AGENT, messages.Dial(ticket="t", kind="ssh"))
        for _ in range(3):
            await agent.say(messages.KeyUsed(key=ONE.id))
        await agent.say(messages.Ping(id=1))
        while not isinstance(await agent.hear(), messages.Pong):
            pass
        assert plant.keys.used_ == [(AGENT, ONE.id)]
        await agent.say(messages.KeyUsed(key="\x1b[2J"))
        assert (await agent.closed())[0] == CloseCode.PROTOCOL_ERROR


async def test_an_agent_is_told_which_of_its_grants_have_ended(plant: Plant) -> None:
    plant.endings.over = {"b"}
    async with plant.welcomed() as agent:
        await agent.say(messages.GrantsHeld(grants=("a", "b", "c")))
        assert await agent.hear() == messages.EndGrants(grants=("b",))
        await agent.say(messages.GrantsHeld(grants=("a",)))
        await agent.say(messages.Ping(id=1))
        assert await agent.hear() == messages.Pong(id=1)


async def test_grants_that_cannot_be_looked_up_are_asked_about_on_the_next_link(
    plant: Plant,
) -> None:
    plant.endings.trouble = True
    async with plant.welcomed() as agent:
        await agent.say(messages.GrantsHeld(grants=("a",)))
        assert await agent.closed() == (CloseCode.GOING_AWAY, "disk full")


async def test_only_agents_that_know_of_grants_are_asked_for_them(plant: Plant) -> None:
    await plant.registry.ask_grants(AgentId("agt_away"))
    async with plant.welcomed("old") as old:
        await plant.registry.ask_grants(AgentId("agt_old"))
        await old.say(messages.Ping(id=1))
        assert await old.hear() == messages.Pong(id=1)
    async with plant.agent("new") as new:
        await new.say(dataclasses.replace(HELLO, features=(messages.GRANTS_FEATURE,)))
        assert isinstance(await new.hear(), messages.Welcome)
        with trio.fail_after(5):
            await plant.registry.wait_connected(AgentId("agt_new"))
        await plant.registry.ask_grants(AgentId("agt_new"))
        assert await new.hear() == messages.ListGrants()


async def test_a_hostname_of_600_kb_is_refused(plant: Plant) -> None:
    for size in (256, 600_000):
        async with plant.agent() as agent:
            await agent.say(dataclasses.replace(HELLO, hostname="x" * size))
            code, reason = await agent.closed()
            assert (code, "hostname" in reason) == (CloseCode.PROTOCOL_ERROR, True)
    assert plant.registry.state(AgentId("agt_a")) is None
