"""A coordinator's side of control links, and agents that talk to it over real connections."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial

import trio
import trio.testing
import trio_websocket

from kled_coord.control.registry import AgentRegistry
from kled_coord.store.records import AgentRecord
from kled_coord.workspaces.agents import AgentFacts
from kled_wire import limits
from kled_wire.control import codec, messages
from kled_wire.errors import NotFoundError, UnauthenticatedError, UnavailableError
from kled_wire.names import AgentId, WorkspaceId
from kled_wire.transport.address import parse_url
from kled_wire.transport.dial import open_connection
from kled_wire.transport.websocket import open_websocket
from kled_wire.version import PROTOCOL
from tests.coord.conftest import Clock

AGENT = AgentId("agt_a")
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

    async def connected(self, agent_id: str, facts: AgentFacts) -> None:
        await self._note(agent_id, True, facts.hostname)

    async def disconnected(self, agent_id: str) -> None:
        await self._note(agent_id, False, "")

    async def _note(self, agent_id: str, connected: bool, hostname: str) -> None:
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
