"""The agents that are connected to this process, and requests to them."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Final, Never

import trio

from kled_coord.control.keys import KeyLists
from kled_coord.control.refusals import Refusals
from kled_coord.metrics import Metrics
from kled_coord.store.records import AgentRecord
from kled_coord.workspaces.presence import ConnectedAgent, ReadKeys, WaitAnswered
from kled_wire import limits
from kled_wire.control import messages
from kled_wire.control.link import CloseCode, ControlLink, LinkClosed
from kled_wire.errors import UnavailableError
from kled_wire.names import AgentId

_DIALS_MAX: Final = 1000


@dataclass(slots=True, kw_only=True, eq=False)
class AttachedAgent:
    """One live link. Its owner is `control/link.py`; `scope` ends it, with `close` as reason."""

    link: ControlLink
    scope: trio.CancelScope
    connected_at: datetime
    last_seen_at: datetime
    hello: messages.Hello
    address: str
    # The same moment as `last_seen_at` on a clock that does not step: Trio's.
    heard_at: float = 0.0
    rtt_s: float | None = None
    report: messages.Report | None = None
    close: tuple[CloseCode, str] = (CloseCode.GOING_AWAY, "the coordinator is stopping")
    # Said before the close.
    farewell: messages.Shutdown | None = None
    keys: KeyLists = field(init=False)

    def __post_init__(self) -> None:
        self.keys = KeyLists(self.link)

    def end(self, code: CloseCode, reason: str) -> None:
        """Close the link with a reason, from any task."""
        self.close = code, reason
        self.scope.cancel()


class AgentRegistry:
    """Agent id -> its one live link. A newer link of an agent replaces the older."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._links: dict[AgentId, AttachedAgent] = {}
        self._waiting: dict[AgentId, trio.Event] = {}
        self._empty = trio.Event()
        self._refusals = Refusals()
        # How often each agent was asked to dial, less the key uses that it has told of since.
        self._dials: Counter[AgentId] = Counter()

    def attach(self, agent_id: AgentId, attached: AttachedAgent) -> None:
        """Make `attached` the agent's link; an older one is told that it was replaced."""
        older = self._links.get(agent_id)
        if older is not None:
            older.end(CloseCode.REPLACED, "a newer connection of this agent took over")
        self._links[agent_id] = attached
        self._metrics.agents_connected.set(len(self._links))
        if (event := self._waiting.pop(agent_id, None)) is not None:
            event.set()

    def detach(self, agent_id: AgentId, attached: AttachedAgent) -> bool:
        """Forget the link if it is still the agent's; False when another has replaced it."""
        if self._links.get(agent_id) is not attached:
            return False
        del self._links[agent_id]
        self._metrics.agents_connected.set(len(self._links))
        if not self._links:
            self._empty.set()
            self._empty = trio.Event()
        return True

    def knows(self, agent_id: AgentId, feature: str) -> bool:
        """Whether the agent is connected and said in its hello that it has `feature`."""
        found = self._links.get(agent_id)
        return found is not None and feature in found.hello.features

    def state(self, agent_id: AgentId) -> ConnectedAgent | None:
        """What is known of a connected agent, None when it is not connected."""
        found = self._links.get(agent_id)
        if found is None:
            return None
        hello = found.hello
        return ConnectedAgent(
            agent_id=agent_id,
            connected_at=found.connected_at,
            last_seen_at=found.last_seen_at,
            rtt_s=found.rtt_s,
            version=hello.version,
            hostname=hello.hostname,
            os=hello.os,
            arch=hello.arch,
            address=found.address,
            report=found.report,
        )

    async def ping(self, agent_id: AgentId) -> float:
        """Seconds of a round trip, measured now. Raises UnavailableError."""
        try:
            return await self._link(agent_id).link.ping()
        except LinkClosed as exc:
            raise self._gone(agent_id) from exc

    async def send(self, agent_id: AgentId, message: messages.Message) -> None:
        """Send to a connected agent. Raises UnavailableError("agent_not_connected")."""
        if isinstance(message, messages.Dial):
            self._dials[agent_id] = min(self._dials[agent_id] + 1, _DIALS_MAX)
        try:
            await self._link(agent_id).link.send(message)
        except LinkClosed as exc:
            raise self._gone(agent_id) from exc

    def spend_dial(self, agent_id: AgentId) -> bool:
        """Whether a stream can have begun that the agent has not told a key use of yet.

        An agent belongs to whoever owns its workspace: it must not fill the audit log.
        """
        if self._dials[agent_id] <= 0:
            return False
        self._dials[agent_id] -= 1
        return True

    async def give_keys(self, agent_id: AgentId, read: ReadKeys) -> WaitAnswered:
        """Send a connected agent the list that `read` reads; gives what waits for its answer.

        One that knows nothing of keys lets none in. Raises UnavailableError, and as `read`.
        """
        link = self._link(agent_id)
        if not self.knows(agent_id, messages.KEYS_FEATURE):
            return trio.lowlevel.checkpoint
        try:
            number = await link.keys.give(read)
        except LinkClosed as exc:
            raise self._gone(agent_id) from exc
        return partial(link.keys.wait_answered, number)

    async def ask_grants(self, agent_id: AgentId) -> None:
        """Ask a connected agent to say again which grants it holds; others will by themselves."""
        if self.knows(agent_id, messages.GRANTS_FEATURE):
            # An agent whose link has just ended says it again on its next link.
            with suppress(UnavailableError):
                await self.send(agent_id, messages.ListGrants())

    async def wait_connected(self, agent_id: AgentId) -> None:
        """Return as soon as the agent is connected."""
        if agent_id in self._links:
            await trio.lowlevel.checkpoint()
            return
        await self._waiting.setdefault(agent_id, trio.Event()).wait()

    def refused(self, agent: AgentRecord, why: str, at: datetime) -> None:
        """Remember that what calls itself this agent was not let in, and will not be."""
        self._refusals.note(agent, why, at)

    async def wait_refused(self, agent: AgentRecord, since: datetime) -> str:
        """Return why an agent of this workspace and name was refused, at `since` or later."""
        return await self._refusals.wait(agent, since)

    def drop(self, agent_id: AgentId, reason: str) -> None:
        """Close the agent's link, if it has one, so that it does not come straight back."""
        self._dials.pop(agent_id, None)
        if (found := self._links.get(agent_id)) is not None:
            found.end(CloseCode.TOKEN_REFUSED, reason)

    async def serve_dead_peers(self) -> Never:
        """End links whose agent has not been heard of for limits.DEAD_PEER_S.

        One task for all of them: a timer each would be most of a link's memory.
        """
        while True:
            slept_at = trio.current_time()
            await trio.sleep(limits.HEARTBEAT_S)
            now = trio.current_time()
            if now - slept_at > 2 * limits.HEARTBEAT_S:
                continue  # we stood still ourselves: what agents said meanwhile is yet to be read
            for found in list(self._links.values()):
                if now - found.heard_at > limits.DEAD_PEER_S:
                    found.end(CloseCode.DEAD_PEER, "no heartbeat came")

    def end_all(self, reason: str, *, back_in_s: float = 0.0) -> None:
        """Tell every agent that we are going down; they dial again after `back_in_s`."""
        for found in list(self._links.values()):
            found.farewell = messages.Shutdown(reason=reason, back_in_s=back_in_s)
            found.end(CloseCode.GOING_AWAY, reason)

    async def wait_empty(self) -> None:
        """Return once no agent is connected."""
        while self._links:
            await self._empty.wait()

    def _link(self, agent_id: AgentId) -> AttachedAgent:
        found = self._links.get(agent_id)
        if found is None:
            raise self._gone(agent_id)
        return found

    def _gone(self, agent_id: AgentId) -> UnavailableError:
        return UnavailableError(
            "agent_not_connected",
            "the workspace's agent is not connected",
            hint="it may be starting still, or have ended: kled show NAME tells, kled start NAME "
            f"starts it again (agent {agent_id})",
        )
