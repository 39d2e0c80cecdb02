"""Stores what agents report of their scripts, and sends agents their specs.

Messages of agents are queued for one writer, which stores all queued ones in one transaction: many
agents cost the database little more than one. Facts that are known only while an agent is connected
(the spec in force, its metadata) are kept in memory.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final, Never

import structlog
import trio

from kled_coord.changes import Changes
from kled_coord.masking import Mask, ReadSecrets
from kled_coord.scripts.readiness import ENDED
from kled_coord.sources import Clock
from kled_coord.store.agents import agents_of
from kled_coord.store.builds import latest_builds
from kled_coord.store.engine import Store
from kled_coord.store.errors import StoreError
from kled_coord.store.records import AgentRecord, Build, ScriptPiece, ScriptRun
from kled_coord.store.scripts import ScriptNews, keep_script_news
from kled_coord.workspaces.presence import Registry
from kled_coord.workspaces.specs import Specs
from kled_wire import limits
from kled_wire.control import messages
from kled_wire.control.agent_spec import AgentSpec
from kled_wire.errors import KledError, ProtocolError, UnavailableError
from kled_wire.names import AgentId, BuildId, WorkspaceId
from kled_wire.text import printable

# Messages of all agents that wait for the database; past it their links wait.
_AHEAD_MAX: Final = 1000
_BATCH_MAX: Final = 100
_NOTE_MAX: Final = 500
_SECONDS_MAX: Final = 1e9
_RUN: Final = re.compile(r"[A-Za-z0-9_-]{1,40}")
_STAGES: Final = frozenset({"start", "stop", "cron"})
_STATES: Final = ENDED | {"waiting", "running"}
# How long an agent may take to answer after the time limit of its stop scripts. Seconds.
_STOP_ANSWER_S: Final = 5.0

log = structlog.get_logger(__name__)

Told = messages.ScriptRunChanged | messages.ScriptOutput | messages.SpecSet


def scripts_key(workspace_id: str) -> str:
    """The key of Changes that is notified when a workspace's scripts have changed."""
    return f"{workspace_id} scripts"


@dataclass(frozen=True, slots=True, kw_only=True)
class Metadata:
    """A value that an agent has found out; `error` says why not. `at` is when, by our clock."""

    value: str
    error: str
    took_s: float
    at: datetime


@dataclass(slots=True)
class Live:
    """What is known of an agent while it is connected."""

    takes_scripts: bool = False
    told: str | None = None
    spec: AgentSpec | None = None
    mask: Mask = field(default_factory=lambda: Mask(()))
    stopping: bool = False
    stop_ended: trio.Event = field(default_factory=trio.Event)
    metadata: dict[str, Metadata] = field(default_factory=dict)


class ScriptIntake:
    """Stores what agents report of their scripts: `take` accepts it, `serve` writes it."""

    def __init__(
        self,
        *,
        store: Store,
        clock: Clock,
        changes: Changes,
        registry: Registry,
        secrets: ReadSecrets,
        specs: Specs,
    ) -> None:
        self._store = store
        self._clock = clock
        self._changes = changes
        self._registry = registry
        self._secrets = secrets
        self._specs = specs
        # Seconds that an agent has, beyond its scripts' time, to say that they have ended.
        self.stop_answer_s = _STOP_ANSWER_S
        self._live: dict[AgentId, Live] = {}
        self._send, self._receive = trio.open_memory_channel[tuple[AgentRecord, Told]](_AHEAD_MAX)

    def live(self, agent_id: AgentId) -> Live:
        """What is known of an agent now."""
        return self._live.get(agent_id) or Live()

    async def attached(self, agent: AgentRecord, features: Sequence[str]) -> None:
        """An agent has connected: give it its spec, unless a build is to change that first."""
        self._live[agent.id] = live = Live(takes_scripts=messages.SCRIPTS_FEATURE in features)
        self._changes.notify(scripts_key(agent.workspace_id))
        if live.takes_scripts:
            try:
                await self._learn(agent.workspace_id, [agent])
                builds = await self._store.read(latest_builds, [agent.workspace_id])
                if builds and _may_give(builds[0]):
                    await self._give(agent.id)
            except KledError as error:
                # The agent gets its spec at its next link, or when the next build has ended.
                log.warning("agent_spec_not_given", agent=agent.id, reason=error.message)

    async def is_building(self, workspace_id: WorkspaceId) -> bool:
        """Whether a start goes on, whose end brings agents their specs. Raises StoreError."""
        builds = await self._store.read(latest_builds, [workspace_id])
        return bool(builds) and builds[0].transition == "start" and builds[0].finished_at is None

    def detached(self, agent: AgentRecord) -> None:
        """An agent has no link any more. What it had found out it tells again over its next."""
        self._live.pop(agent.id, None)
        self._changes.notify(scripts_key(agent.workspace_id))

    async def give(self, workspace_id: WorkspaceId) -> None:
        """A build has ended: give the workspace's agents that are connected their specs.

        Raises StoreError.
        """
        builds = await self._store.read(latest_builds, [workspace_id])
        found = await self._store.read(agents_of, [workspace_id])
        agents = [agent for agent in found if self.live(agent.id).takes_scripts]
        await self._learn(workspace_id, agents)
        for agent in agents:
            self.live(agent.id).stopping = False
            if builds and _may_give(builds[0]):
                await self._give(agent.id)
        self._changes.notify(scripts_key(workspace_id))

    async def _learn(self, workspace_id: WorkspaceId, agents: Sequence[AgentRecord]) -> None:
        """Read the specs of agents, and what of their output is to be hidden."""
        specs = await self._specs.of([agent.id for agent in agents])
        mask = Mask(await self._secrets(workspace_id)) if specs else Mask(())
        for agent in agents:
            live = self.live(agent.id)
            live.spec, live.mask = specs.get(agent.id), mask
            wanted = {item.key for item in live.spec.metadata} if live.spec else set()
            live.metadata = {key: v for key, v in live.metadata.items() if key in wanted}

    async def _give(self, agent_id: AgentId) -> None:
        spec = self.live(agent_id).spec
        if spec is not None:
            with suppress(UnavailableError):  # it has just gone, and is given it when it is back
                await self._registry.send(agent_id, messages.SetSpec(spec=spec))

    async def take(self, agent: AgentRecord, message: messages.Message) -> bool:
        """Act on what an agent says about scripts; whether it was that.

        Waits while the database is far behind. Raises ProtocolError.
        """
        if isinstance(message, Told):
            _check(message)
            await self._send.send((agent, message))
        elif isinstance(message, messages.StopScriptsEnded):
            self.live(agent.id).stop_ended.set()
        elif isinstance(message, messages.MetadataFound):
            self._take_metadata(self.live(agent.id), message)
            self._changes.notify(scripts_key(agent.workspace_id))
        else:
            return False
        return True

    def _take_metadata(self, live: Live, found: messages.MetadataFound) -> None:
        if live.spec is None or found.key not in {item.key for item in live.spec.metadata}:
            return
        most = limits.METADATA_VALUE_MAX
        live.metadata[found.key] = Metadata(
            value=printable(live.mask.hide(found.value[:most]), keep="\n\t"),
            error=printable(live.mask.hide(found.error[:_NOTE_MAX])),
            took_s=_seconds(found.took_s),
            at=self._clock() - timedelta(seconds=_seconds(found.age_s)),
        )

    async def serve(self) -> Never:
        """Write what agents tell until cancelled. What the database does not take is lost."""
        while True:
            batch = [await self._receive.receive()]
            while len(batch) < _BATCH_MAX:
                try:
                    batch.append(self._receive.receive_nowait())
                except trio.WouldBlock:
                    break
            await self._keep(batch)

    async def _keep(self, batch: Sequence[tuple[AgentRecord, Told]]) -> None:
        writes: list[ScriptNews] = []
        kept: list[tuple[AgentId, messages.OutputKept]] = []
        specs: list[tuple[Live, str]] = []
        for agent, message in batch:
            live = self.live(agent.id)
            if isinstance(message, messages.SpecSet):
                specs.append((live, message.build_id))
            elif isinstance(message, messages.ScriptRunChanged):
                run = _record(agent, live, message)
                writes += [] if run is None else [run]
            else:
                piece = _piece(live.mask, message)
                writes += [(agent.id, message.run, piece)] if piece.size else []
                end = message.offset + piece.size
                kept.append((agent.id, messages.OutputKept(run=message.run, end=end)))
        try:
            await self._store.write(keep_script_news, writes)
        except StoreError as error:
            log.warning("script_log_lost", messages=len(batch), reason=error.message)
        for live, build_id in specs:  # the runs that were told before are to be seen by now
            live.told = build_id
        for agent_id, answer in kept:
            with suppress(UnavailableError):  # it tells it again over its next link
                await self._registry.send(agent_id, answer)
        for workspace_id in {agent.workspace_id for agent, _ in batch}:
            self._changes.notify(scripts_key(workspace_id))

    async def stop(self, workspace_id: WorkspaceId, say: Callable[[str], Awaitable[None]]) -> None:
        """Have the scripts of a stop run where an agent is there; `say` hears how that goes.

        Each has its own time, all together at most ten minutes.
        """
        async with trio.open_nursery() as nursery:
            for agent in await self._store.read(agents_of, [workspace_id]):
                spec = self.live(agent.id).spec
                if spec is not None and any(script.run_on_stop for script in spec.scripts):
                    nursery.start_soon(self._stop, agent, spec, say)

    async def _stop(
        self, agent: AgentRecord, spec: AgentSpec, say: Callable[[str], Awaitable[None]]
    ) -> None:
        live = self.live(agent.id)
        within_s = spec.shutdown_s
        live.stopping, live.stop_ended = True, trio.Event()
        self._changes.notify(scripts_key(agent.workspace_id))
        await say(f"shutdown scripts of the agent {agent.name}: at most {within_s:.0f} s")
        try:
            await self._registry.send(agent.id, messages.RunStopScripts(within_s=within_s))
        except UnavailableError:
            await say(f"the agent {agent.name} is away: its shutdown scripts do not run")
            return
        with trio.move_on_after(within_s + self.stop_answer_s) as scope:
            await live.stop_ended.wait()
        if scope.cancelled_caught:
            await say(f"the agent {agent.name} did not end its shutdown scripts in time")


def _may_give(build: Build) -> bool:
    """Whether a workspace whose newest build this is runs by what was applied last."""
    return build.transition == "start" and build.finished_at is not None


def _check(message: Told) -> None:
    if isinstance(message, messages.SpecSet):
        return
    fits = _RUN.fullmatch(message.run) is not None
    if isinstance(message, messages.ScriptRunChanged):
        fits = fits and message.stage in _STAGES and message.state in _STATES
    else:
        size = len(message.data)
        fits = fits and size <= limits.SCRIPT_CHUNK_BYTES and 0 <= message.offset < 2**62
    if not fits:
        raise ProtocolError("message_malformed", f"{message.type} is not what a script can say")


def _piece(mask: Mask, message: messages.ScriptOutput) -> ScriptPiece:
    shown, taken = mask.hide_begun(message.data, final=message.final)
    if not taken and len(message.data) == limits.SCRIPT_CHUNK_BYTES:
        # Longer than what comes at a time: no more of it can be waited for.
        shown, taken = mask.hide_begun(message.data, final=True)
    return ScriptPiece(start=message.offset, size=taken, data=shown)


def _record(agent: AgentRecord, live: Live, message: messages.ScriptRunChanged) -> ScriptRun | None:
    """What is kept of a run; None where the template has no such script any more."""
    for position, script in enumerate(live.spec.scripts if live.spec else ()):
        if script.id == message.script:
            return ScriptRun(
                agent_id=agent.id,
                run=message.run,
                build_id=BuildId(message.build_id[:40]),
                script=script.id[:200],
                name=printable(script.name)[:200],
                stage=message.stage,
                state=message.state,
                exit_code=message.exit_code if 0 <= message.exit_code < 2**31 else None,
                note=printable(live.mask.hide(message.note[:_NOTE_MAX])),
                blocks_login=script.blocks_login,
                position=position,
                started_at=_moment(message.started_at),
                duration_s=_seconds(message.duration_s),
            )
    return None


def _seconds(value: float) -> float:
    """A duration as an agent says it: a number, and not a century."""
    return min(value, _SECONDS_MAX) if value > 0 else 0.0


def _moment(seconds: float) -> datetime | None:
    """A moment by an agent's clock; None where it has not come, or is no time at all."""
    try:
        return datetime.fromtimestamp(seconds, UTC) if seconds > 0 else None
    except (ValueError, OverflowError, OSError):
        return None
