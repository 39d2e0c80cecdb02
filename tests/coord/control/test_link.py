"""Control links end to end: the real front, identity, store; agents that misbehave."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial

import cbor2
import pytest
import trio
import trio.testing
import trio_websocket

from kled_coord.control.link import ControlPlane
from kled_coord.control.registry import AgentRegistry
from kled_coord.front.admission import Admission
from kled_coord.front.head import Plane
from kled_coord.front.listener import open_listeners, serve_connections
from kled_coord.metrics import Metrics
from kled_coord.store.records import AgentRecord
from kled_wire import limits
from kled_wire.control import codec, messages
from kled_wire.control.link import CloseCode
from kled_wire.errors import NotFoundError, UnauthenticatedError, UnavailableError
from kled_wire.names import AgentId, WorkspaceId
from kled_wire.transport.address import parse_url
from kled_wire.transport.dial import open_connection
from kled_wire.transport.websocket import open_websocket
from kled_wire.version import PROTOCOL
from tests.coord.conftest import Clock

HELLO = messages.Hello(protocol=PROTOCOL, version="1", hostname="box")


class FakeIdentity:
    """Tokens of agents by hand."""

    def __init__(self, clock: Clock) -> None:
        self.revoked: set[str] = set()
        self._clock = clock

    async def authenticate_agent(self, bearer: str) -> AgentRecord:
        await trio.lowlevel.checkpoint()
        if bearer in self.revoked:
            raise UnauthenticatedError("token_revoked", "revoked")
        if not bearer.startswith("kled_agent_"):
            raise UnauthenticatedError("token_unknown", "not known")
        name = bearer.removeprefix("kled_agent_")
        known = {
            "id": AgentId(f"agt_{name}"),
            "workspace_id": WorkspaceId("ws_1"),
            "name": name,
            "created_at": self._clock(),
        }
        nothing = dict.fromkeys(f.name for f in dataclasses.fields(AgentRecord))
        return AgentRecord(**{**nothing, **known})  # type: ignore[arg-type]  # by name


@dataclass
class Workspace:
    id: str = "ws_1"
    name: str = "dev"
    owner_name: str = "alice"


@dataclass
class FakeAgents:
    """The workspace of every agent, and what was noted of them."""

    gone: bool = False
    notes: list[tuple[str, bool, str]] = field(default_factory=list)
    trouble: bool = False

    async def workspace_of(self, _agent: AgentRecord) -> Workspace:
        await trio.lowlevel.checkpoint()
        if self.gone:
            raise NotFoundError("workspace_not_found", "gone")
        return Workspace()

    async def seen(self, agent_id: str, *, connected: bool, hostname: str, **_more: str) -> None:
        await trio.lowlevel.checkpoint()
        if self.trouble:
            raise UnavailableError("store_unavailable", "disk full")
        self.notes.append((agent_id, connected, hostname))


@dataclass
class FakeKeys:
    """The list that every agent gets, and which keys were used."""

    good: tuple[messages.UserKey, ...] = ()
    changes: int = 0
    on_read: Callable[[], None] = lambda: None
    used_: list[tuple[str, str]] = field(default_factory=list)

    async def good_for(self, _agent_id: str) -> tuple[messages.UserKey, ...]:
        read = self.good
        await trio.lowlevel.checkpoint()
        self.on_read()
        return read

    async def used(self, agent: AgentRecord, key_id: str) -> None:
        await trio.lowlevel.checkpoint()
        self.used_.append((agent.id, key_id))


@dataclass
class FakeScripts:
    """What was said of scripts; everything else is not about them."""

    taken: list[messages.Message] = field(default_factory=list)
    there: set[str] = field(default_factory=set)

    async def attached(self, agent: AgentRecord, _features: Sequence[str]) -> None:
        await trio.lowlevel.checkpoint()
        self.there.add(agent.id)

    async def is_building(self, _workspace_id: str) -> bool:
        await trio.lowlevel.checkpoint()
        return False

    def detached(self, agent: AgentRecord) -> None:
        self.there.discard(agent.id)

    async def take(self, _agent: AgentRecord, message: messages.Message) -> bool:
        await trio.lowlevel.checkpoint()
        self.taken.append(message)
        return isinstance(message, messages.SpecSet)


@dataclass
class FakeEndings:
    """Which grants hold no more."""

    over: set[str] = field(default_factory=set)
    trouble: bool = False

    async def ended(self, grants: Sequence[str]) -> tuple[str, ...]:
        await trio.lowlevel.checkpoint()
        if self.trouble:
            raise UnavailableError("store_unavailable", "disk full")
        return tuple(grant for grant in grants if grant in self.over)


@dataclass
class Plant:
    """A control plane behind a real port."""

    port: int
    registry: AgentRegistry
    identity: FakeIdentity
    agents: FakeAgents
    keys: FakeKeys
    endings: FakeEndings
    clock: Clock
    failed: list[tuple[str, str, str]]

    async def set_keys(self) -> None:
        """Give the agent the list and wait for its answer."""
        answered = await self.registry.give_keys(AGENT, partial(self.keys.good_for, AGENT))
        await answered()

    @asynccontextmanager
    async def agent(self, name: str = "a") -> AsyncIterator[Agent]:
        address = parse_url(f"http://127.0.0.1:{self.port}")
        stream = await open_connection(address)
        async with stream, trio.open_nursery() as nursery:
            connection = await open_websocket(
                nursery,
                stream,
                address,
                "/api/v1/agent/control",
                headers={"authorization": f"Bearer kled_agent_{name}"},
                max_message_size=limits.CONTROL_MESSAGE_MAX_BYTES,
            )
            yield Agent(connection)
            await connection.aclose()
            nursery.cancel_scope.cancel()

    @asynccontextmanager
    async def welcomed(
        self, name: str = "a", hello: messages.Hello = HELLO
    ) -> AsyncIterator[Agent]:
        async with self.agent(name) as agent:
            await agent.say(hello)
            assert isinstance(await agent.hear(), messages.Welcome)
            with trio.fail_after(5):
                await self.registry.wait_connected(AgentId(f"agt_{name}"))
            yield agent


@dataclass
class Agent:
    connection: trio_websocket.WebSocketConnection

    async def say(self, message: messages.Message) -> None:
        await self.connection.send_message(codec.encode(message))

    async def hear(self) -> messages.Message:
        with trio.fail_after(10):
            data = await self.connection.get_message()
        assert isinstance(data, bytes)
        return codec.decode(data)

    async def closed(self) -> tuple[int, str]:
        with trio.fail_after(10):
            with contextlib.suppress(trio_websocket.ConnectionClosed):
                while True:
                    await self.connection.get_message()
        reason = self.connection.closed
        return (reason.code, reason.reason or "") if reason else (0, "")


@pytest.fixture
async def plant(clock: Clock) -> AsyncIterator[Plant]:
    registry = AgentRegistry(Metrics())
    identity, agents, keys = FakeIdentity(clock), FakeAgents(), FakeKeys()
    endings = FakeEndings()
    failed: list[tuple[str, str, str]] = []
    plane = ControlPlane(
        identity=identity,  # type: ignore[arg-type]  # a fake
        agents=agents,  # type: ignore[arg-type]  # a fake
        keys=keys,  # type: ignore[arg-type]  # a fake
        registry=registry,
        endings=endings,  # type: ignore[arg-type]  # a fake
        scripts=FakeScripts(),  # type: ignore[arg-type]  # a fake
        clock=clock,
        on_dial_failed=lambda *args: failed.append(args),
    )
    listeners = await open_listeners("127.0.0.1", 0)
    port = listeners[0].socket.getsockname()[1]
    async with trio.open_nursery() as connections, trio.open_nursery() as accepting:
        planes = dict.fromkeys(Plane, plane.serve)
        serve = partial(serve_connections, admission=Admission())
        accepting.start_soon(serve, listeners, planes, connections)
        yield Plant(port, registry, identity, agents, keys, endings, clock, failed)
        accepting.cancel_scope.cancel()
        connections.cancel_scope.cancel()


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
    assert plant.agents.notes == [("agt_a", True, "box"), ("agt_a", False, "box")]
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
async def test_something_before_hello_is_out_of_order(
    plant: Plant, message: messages.Message, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "HELLO_TIMEOUT_S", 0.2)
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


async def test_no_hello_is_not_waited_for(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "HELLO_TIMEOUT_S", 0.1)
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
AGENT = AgentId("agt_a")


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
