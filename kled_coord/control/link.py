"""One agent's control link, from its request to its end."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Final

import structlog
import trio
import trio_websocket

from kled_coord.control.registry import AgentRegistry, AttachedAgent
from kled_coord.front.head import bearer
from kled_coord.front.listener import Arrival
from kled_coord.front.refusing import answer_error
from kled_coord.identity.endings import Endings
from kled_coord.identity.service import AgentRevokedError, IdentityService
from kled_coord.scripts.service import ScriptIntake
from kled_coord.sources import Clock
from kled_coord.store.records import AgentRecord
from kled_coord.workspaces.agents import AgentFacts, Agents
from kled_coord.workspaces.key_holders import AgentKeys
from kled_wire import limits
from kled_wire.control import messages
from kled_wire.control.link import (
    LINK_TIMES,
    MESSAGE_QUEUE,
    RECEIVE_BUFFER_BYTES,
    CloseCode,
    ControlLink,
    LinkClosed,
    LinkTimes,
    close_code_for,
)
from kled_wire.errors import KledError, ProtocolError
from kled_wire.version import PROTOCOL, SOFTWARE_VERSION, is_compatible

log = structlog.get_logger(__name__)

# What an agent says about itself, in characters: gethostname(2) gives 64, a DNS name has 253.
_ABOUT_MAX: Final = {"hostname": 255, "version": 80, "os": 80, "arch": 40}

# Told of a dial that the agent could not make: ticket, code, message.
DialFailure = Callable[[str, str, str], None]
_KEY_ID: Final = re.compile(r"key_[a-z2-7]{20}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlPlane:
    """Serves control links; `on_dial_failed` is the relay's."""

    identity: IdentityService
    agents: Agents
    keys: AgentKeys
    registry: AgentRegistry
    endings: Endings
    scripts: ScriptIntake
    clock: Clock
    on_dial_failed: DialFailure
    times: LinkTimes = LINK_TIMES

    async def serve(self, arrival: Arrival) -> None:
        """Check the agent's token, open the WebSocket, stay until it ends."""
        try:
            agent = await self.identity.authenticate_agent(bearer(arrival.head, "Bearer"))
        except KledError as error:
            log.info("agent_refused", code=error.code, address=arrival.address)
            if isinstance(error, AgentRevokedError):
                self.registry.refused(error.agent, error.message, self.clock())
            await answer_error(arrival.stream, error)
            return
        arrival.vouched()
        async with trio.open_nursery() as nursery:
            connection = await _accept(arrival, nursery, self.times.hello_s)
            if connection is not None:
                link = ControlLink(connection, self.times)
                code, reason = await self._converse(link, agent, arrival.address)
                await link.close(code, reason)
            nursery.cancel_scope.cancel()

    async def _converse(
        self, link: ControlLink, agent: AgentRecord, address: str
    ) -> tuple[CloseCode, str]:
        """Greet and stay; returns how to close, which is ignored when the peer has closed."""
        try:
            hello = await self._greet(link, agent)
            if hello is None:
                why = f"this coordinator speaks {PROTOCOL}"
                self.registry.refused(agent, f"{why}, the agent at {address} not", self.clock())
                return CloseCode.VERSION_UNSUPPORTED, why
            return await self._stay(link, agent, hello, address)
        except ProtocolError as error:
            log.info("agent_protocol_error", agent=agent.id, code=error.code, reason=error.message)
            return close_code_for(error), error.message
        except KledError as error:
            # The workspace was just deleted, or the store failed: the agent may ask again.
            log.info("agent_not_welcomed", agent=agent.id, code=error.code)
            return CloseCode.GOING_AWAY, error.message
        except LinkClosed as closed:
            log.info("agent_left", agent=agent.id, code=closed.code, reason=closed.reason)
            return CloseCode.NORMAL, ""

    async def _greet(self, link: ControlLink, agent: AgentRecord) -> messages.Hello | None:
        """Hello and Welcome; None when the versions do not fit."""
        with trio.move_on_after(self.times.hello_s) as scope:
            hello = await link.receive()
        if scope.cancelled_caught:
            raise ProtocolError("hello_expected", "no hello was received")
        if not isinstance(hello, messages.Hello):
            raise ProtocolError("hello_expected", f"received {hello.type} before hello")
        if not is_compatible(hello.protocol):
            return None
        long = [n for n, most in _ABOUT_MAX.items() if len(getattr(hello, n)) > most]
        if long:
            raise ProtocolError("message_malformed", f"hello.{long[0]} is too long")
        workspace = await self.agents.workspace_of(agent)
        await link.send(
            messages.Welcome(
                protocol=PROTOCOL,
                version=SOFTWARE_VERSION,
                agent_id=agent.id,
                workspace_id=workspace.id,
                workspace=workspace.name,
                owner=workspace.owner_name,
                heartbeat_s=limits.HEARTBEAT_S,
                spec_follows=await self.scripts.is_building(workspace.id),
            )
        )
        return hello

    async def _stay(
        self, link: ControlLink, agent: AgentRecord, hello: messages.Hello, address: str
    ) -> tuple[CloseCode, str]:
        now = self.clock()
        with trio.CancelScope() as scope:
            attached = AttachedAgent(
                link=link,
                scope=scope,
                connected_at=now,
                last_seen_at=now,
                heard_at=trio.current_time(),
                hello=hello,
                address=address,
            )
            await self._give_keys(agent, attached)
            self.registry.attach(agent.id, attached)
            try:
                await self._note_connected(agent, attached)
                await self.scripts.attached(agent, hello.features)
                while True:
                    await self._handle(await link.receive(), agent, attached)
            finally:
                attached.keys.end()
                if attached.farewell is not None:
                    # `send` has a deadline of its own, and is shielded.
                    with suppress(LinkClosed):
                        await link.send(attached.farewell)
                if self.registry.detach(agent.id, attached):
                    self.scripts.detached(agent)
                    with trio.move_on_after(limits.CLEANUP_S, shield=True):
                        await self._note_disconnected(agent)
        log.info("agent_ended", agent=agent.id, reason=attached.close[1])
        return attached.close

    async def _give_keys(self, agent: AgentRecord, attached: AttachedAgent) -> None:
        """Send the list of good keys; before the link is the agent's, so that no stream is sooner.

        Whoever changes the list meanwhile does not find this link: then it is sent again.
        """
        sent_after = None
        while sent_after != self.keys.changes and messages.KEYS_FEATURE in attached.hello.features:
            sent_after = self.keys.changes
            await attached.keys.give(partial(self.keys.good_for, agent.id))

    async def _handle(
        self, message: messages.Message, agent: AgentRecord, attached: AttachedAgent
    ) -> None:
        attached.last_seen_at, attached.heard_at = self.clock(), trio.current_time()
        if isinstance(message, messages.Ping):
            attached.rtt_s = message.rtt_s or attached.rtt_s
        elif isinstance(message, messages.Report):
            attached.report = message
        elif isinstance(message, messages.DialFailed):
            self.on_dial_failed(message.ticket, message.code, message.message)
        elif isinstance(message, messages.KeysSet):
            attached.keys.answered(message.number)
        elif isinstance(message, messages.KeyUsed):
            await self._note_key_use(agent, message.key)
        elif isinstance(message, messages.GrantsHeld):
            if ended := await self.endings.ended(message.grants[: messages.GRANTS_MAX]):
                await attached.link.send(messages.EndGrants(grants=ended))
        elif not await self.scripts.take(agent, message) and not isinstance(
            message, messages.Unsupported
        ):
            raise ProtocolError("message_unexpected", f"{message.type} out of order")

    async def _note_key_use(self, agent: AgentRecord, key: str) -> None:
        if _KEY_ID.fullmatch(key) is None:
            raise ProtocolError("message_malformed", "key_used.key is no key's id")
        if not self.registry.spend_dial(agent.id):
            log.warning("key_use_unexpected", agent=agent.id)
            return
        try:
            await self.keys.used(agent, key)
        except KledError as error:
            log.warning("key_use_not_noted", agent=agent.id, key=key, code=error.code)

    async def _note_connected(self, agent: AgentRecord, attached: AttachedAgent) -> None:
        hello = attached.hello
        log.info("agent_connected", agent=agent.id)
        facts = AgentFacts(
            version=hello.version,
            hostname=hello.hostname,
            os=hello.os,
            arch=hello.arch,
            address=attached.address,
        )
        with _not_noted(agent):
            await self.agents.connected(agent.id, facts)

    async def _note_disconnected(self, agent: AgentRecord) -> None:
        log.info("agent_disconnected", agent=agent.id)
        with _not_noted(agent):
            await self.agents.disconnected(agent.id)


@contextmanager
def _not_noted(agent: AgentRecord) -> Iterator[None]:
    """The link works without the note; the store's own trouble is reported by readyz."""
    try:
        yield
    except KledError as error:
        log.warning("agent_not_noted", agent=agent.id, code=error.code)


async def _accept(
    arrival: Arrival, nursery: trio.Nursery, within_s: float
) -> trio_websocket.WebSocketConnection | None:
    """Answer the WebSocket request; None when the peer did not go through with it."""
    try:
        with trio.fail_after(within_s):
            request = await trio_websocket.wrap_server_stream(
                nursery,
                arrival.with_head(),
                message_queue_size=MESSAGE_QUEUE,
                max_message_size=limits.CONTROL_MESSAGE_MAX_BYTES,
                receive_buffer_size=RECEIVE_BUFFER_BYTES,
            )
            return await request.accept()
    except (trio_websocket.HandshakeError, trio_websocket.ConnectionClosed, trio.TooSlowError):
        log.info("agent_handshake_failed", address=arrival.address)
        return None
