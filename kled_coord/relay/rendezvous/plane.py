"""The two sides of the data plane: an agent's dial-back and a client's request."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

import structlog
import trio

from kled_coord.builds.waiting import AgentWait
from kled_coord.front.head import Carrier, StreamTarget, bearer
from kled_coord.front.listener import Arrival
from kled_coord.front.refusing import answer_error
from kled_coord.identity.grants import encode_grant, grant_of
from kled_coord.identity.openings import Opening
from kled_coord.identity.service import IdentityService
from kled_coord.metrics import Metrics
from kled_coord.offload.handover import LayerKind
from kled_coord.offload.pool import OffloadPool
from kled_coord.policy.actions import Action
from kled_coord.policy.decide import Caller
from kled_coord.relay.rendezvous.broker import Broker
from kled_coord.relay.rendezvous.quotas import RelayQuotas
from kled_coord.relay.splice.bandwidth import Share
from kled_coord.relay.splice.join import Joiner
from kled_coord.relay.splice.traffic import Traffic
from kled_coord.relay.splice.unanswered import end_when_unanswered
from kled_coord.store.records import AgentRecord, Workspace
from kled_coord.workspaces.service import Workspaces
from kled_coord.workspaces.sessions import SessionId, Sessions
from kled_wire import limits
from kled_wire.control import messages
from kled_wire.errors import KledError, UnauthenticatedError, UnavailableError
from kled_wire.http.upgrade import encode_switching
from kled_wire.names import AgentId
from kled_wire.transport.wscarrier import encode_accept

log = structlog.get_logger(__name__)

_STOPPED: Final = frozenset({"stopped", "stopping", "deleting", "deleted"})
# How long it takes at most to see that a process of this machine has ended. Seconds.
_ENDED_S: Final = 1.0
_ACTIONS: Final = {"ssh": Action.WORKSPACE_SSH, "tcp": Action.WORKSPACE_TCP}


class DataPlane:
    """Serves stream requests. Everything it asks or counts is given to it."""

    def __init__(
        self,
        *,
        identity: IdentityService,
        sessions: Sessions,
        broker: Broker,
        quotas: RelayQuotas,
        joiner: Joiner,
        agent_wait: AgentWait,
        metrics: Metrics,
        offload: OffloadPool,
    ) -> None:
        self._identity = identity
        self._workspaces = agent_wait.workspaces
        self._sessions = sessions
        self._broker = broker
        self._quotas = quotas
        self._joiner = joiner
        self._agent_wait = agent_wait
        self._metrics = metrics
        self._offload = offload

    async def serve_agent(self, arrival: Arrival) -> None:
        """An agent dials back: its ticket says which meeting it comes to."""
        try:
            answer = _answer(arrival)
            meeting = self._broker.redeem(bearer(arrival.head, "Kled-Ticket"))
            if meeting is None:
                raise UnauthenticatedError(
                    "ticket_refused", "the dial ticket is invalid or has expired"
                )
        except KledError as error:
            await answer_error(arrival.stream, error)
            return
        arrival.vouched()
        async with self._accepted(arrival, answer) as stream:
            await self._broker.arrive(meeting, stream)

    async def serve_client(self, arrival: Arrival) -> None:
        """A client asks: check, call the agent, join, and keep the record."""
        target = arrival.route.target
        assert target is not None
        try:
            answer = _answer(arrival)
            async with self._identity.admitted(bearer(arrival.head, "Bearer")) as opening:
                arrival.vouched()
                await self._serve_admitted(arrival, answer, opening, target)
        except KledError as error:
            self._metrics.stream_failures_total.labels(reason=error.code).inc()
            log.info("stream_refused", code=error.code, address=arrival.address)
            await answer_error(arrival.stream, error)

    async def _serve_admitted(
        self, arrival: Arrival, answer: bytes, opening: Opening, target: StreamTarget
    ) -> None:
        caller = opening.caller
        action = _ACTIONS[target.kind]
        workspace, asked = await self._workspaces.locate(caller, target.ref, action)
        _check_running(workspace)
        agent = await self._workspaces.agent_of(workspace.id, asked)
        with self._quotas.streams.held(user_id=caller.user_id, workspace_id=workspace.id):
            dial = messages.Dial(
                ticket="",
                kind=target.kind,
                host=target.host,
                port=target.port,
                resume=target.resume,
                user=caller.user_id,
                grant=encode_grant(grant_of(caller)),
            )
            try:
                async with self._broker.open_stream(agent.id, dial) as agent_stream:
                    await self._relay(
                        arrival, answer, agent_stream, agent.id, opening, workspace, target
                    )
            except UnavailableError as error:
                if error.code != "agent_not_connected":
                    raise
                # If the agent's process has ended for good, this raises the reason, and the client
                # gives up.
                with trio.move_on_after(_ENDED_S):
                    await self._agent_wait.wait(workspace.id, caller.user_id, agent.name)
                raise _not_connected(workspace.name, agent) from error

    async def _relay(
        self,
        arrival: Arrival,
        answer: bytes,
        agent_stream: trio.abc.HalfCloseableStream,
        agent_id: AgentId,
        opening: Opening,
        workspace: Workspace,
        target: StreamTarget,
    ) -> None:
        """Join client and agent to the end of the stream, which is counted and recorded."""
        caller = opening.caller
        traffic = Traffic(on_count=self._counter(target.kind))
        self._metrics.streams_total.labels(kind=target.kind).inc()
        reason = "coordinator_stopped"
        record = _Record(self._sessions, self._workspaces)
        shares = self._quotas.bandwidth.shares(user_id=caller.user_id, workspace_id=workspace.id)
        if target.resume:
            end_when_unanswered(arrival.stream)
            end_when_unanswered(agent_stream)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(record.open, workspace, caller, target.kind, arrival.address)
            nursery.start_soon(self._broker.used, agent_id)
            with self._metrics.streams_open.labels(kind=target.kind).track_inprogress():
                try:
                    reason = await self._join(
                        arrival, answer, agent_stream, workspace, traffic, shares
                    )
                finally:
                    reason = "access_ended" if opening.ended else reason
                    with trio.move_on_after(limits.CLEANUP_S, shield=True):
                        await record.close(traffic, reason)
        log.info(
            "stream_ended",
            workspace=workspace.id,
            kind=target.kind,
            reason=reason,
            to_agent=traffic.to_agent,
            to_client=traffic.to_client,
        )

    async def _join(
        self,
        arrival: Arrival,
        answer: bytes,
        agent_stream: trio.abc.HalfCloseableStream,
        workspace: Workspace,
        traffic: Traffic,
        shares: tuple[Share, ...],
    ) -> str:
        """Give the `answer` to the upgrade, then join both; returns why the stream ended."""
        try:
            async with self._accepted(arrival, answer) as client_stream:
                return await self._joiner.join(client_stream, agent_stream, traffic, shares)
        except KledError as error:
            # The 101 is out: all that can be done is to end the stream.
            return error.code
        except trio.BrokenResourceError:
            log.debug("stream_broken", workspace=workspace.id)
            return "broken"

    @asynccontextmanager
    async def _accepted(
        self, arrival: Arrival, answer: bytes
    ) -> AsyncIterator[trio.abc.HalfCloseableStream]:
        """Give the `answer` to the upgrade, and the stream, raw or carried in WebSocket messages.

        Raises UnavailableError("offload_restarting").
        """
        stream = arrival.stream
        await stream.send_all(answer)
        if arrival.route.carrier is Carrier.RAW:
            yield stream
            return
        ahead = stream.take_prefix()
        async with self._offload.unwrapped(
            LayerKind.WEBSOCKET, stream.transport_stream, ahead
        ) as carried:
            yield carried

    def _counter(self, kind: str) -> Callable[[int, int], None]:
        total = self._metrics.stream_bytes_total
        to_agent = total.labels(kind=kind, direction="to_agent")
        to_client = total.labels(kind=kind, direction="to_client")

        def count(agent_bytes: int, client_bytes: int) -> None:
            to_agent.inc(agent_bytes)
            to_client.inc(client_bytes)

        return count


def _answer(arrival: Arrival) -> bytes:
    """What says yes to the upgrade. Raises ProtocolError("head_malformed")."""
    if arrival.route.carrier is Carrier.WEBSOCKET:
        return encode_accept(arrival.raw_head)
    return encode_switching()


def _not_connected(workspace: str, agent: AgentRecord) -> UnavailableError:
    was = "has never been connected" if agent.last_seen_at is None else "is not connected any more"
    return UnavailableError(
        "agent_not_connected",
        f"the agent {agent.name} of {workspace} {was}",
        hint=f"it may be starting still, or have ended: kled show {workspace} tells, kled start "
        f"{workspace} starts it again (agent {agent.id})",
    )


def _check_running(workspace: Workspace) -> None:
    """Say what to do about a workspace that was stopped. Raises UnavailableError."""
    if workspace.status in _STOPPED:
        raise UnavailableError(
            "workspace_stopped",
            f"the workspace {workspace.name} is {workspace.status}, its agent not connected",
            hint=f"kled start {workspace.name}",
        )


class _Record:
    """The session row, written beside the stream: the first byte does not wait for the disk."""

    def __init__(self, sessions: Sessions, workspaces: Workspaces) -> None:
        self._sessions = sessions
        self._workspaces = workspaces
        self._written = trio.Event()
        self._session_id: SessionId | None = None

    async def open(self, workspace: Workspace, caller: Caller, kind: str, address: str) -> None:
        try:
            await self._workspaces.touch(workspace.id)
            self._session_id = await self._sessions.opened(
                workspace_id=workspace.id,
                user_id=caller.user_id,
                kind=kind,
                client_address=address,
            )
        except KledError as error:
            log.warning("session_not_recorded", code=error.code)
        finally:
            self._written.set()

    async def close(self, traffic: Traffic, reason: str) -> None:
        await self._written.wait()
        if self._session_id is None:
            return
        try:
            await self._sessions.closed(
                self._session_id,
                bytes_to_agent=traffic.to_agent,
                bytes_to_client=traffic.to_client,
                reason=reason,
            )
        except KledError as error:
            log.warning("session_not_recorded", code=error.code)
