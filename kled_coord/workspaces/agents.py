"""Agents, whose identity belongs to a workspace, outlives builds, and ends with the workspace."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from kled_coord.ca.certificates import Authority
from kled_coord.identity.audit import Audit
from kled_coord.identity.secrets import AGENT_TOKEN, hash_secret
from kled_coord.policy.actions import Action, ActionTarget
from kled_coord.policy.decide import Caller
from kled_coord.sources import Clock, Ids
from kled_coord.store.agents import (
    adopt_agent,
    agent_by_name,
    agent_of_generation,
    agents_of,
    configure_agent,
    insert_agent,
    name_agents,
    revoke_agents,
    update_agent,
)
from kled_coord.store.engine import Store
from kled_coord.store.errors import DuplicateError
from kled_coord.store.records import AgentRecord, Workspace
from kled_coord.store.sealing import Sealer
from kled_coord.store.workspaces import workspace_by_id
from kled_coord.workspaces.presence import Registry
from kled_coord.workspaces.sightings import Sighting, Sightings
from kled_wire.errors import InputError, NotFoundError
from kled_wire.names import AgentId, WorkspaceId, ssh_names, user_principal
from kled_wire.text import printable

_PURPOSE: Final = "agent_token"
_NAME_MAX: Final = 80
# An agent is told both in its enrolment; execve(2) takes 128 KiB for one variable anyway.
_ENVIRONMENT_MAX: Final = 64 * 1024
_DIRECTORY_MAX: Final = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentFacts:
    """What an agent reports of itself, "" where it reports nothing, and where it called from."""

    version: str
    hostname: str
    os: str
    arch: str
    address: str

    def values(self) -> dict[str, str]:
        """By column, printable and cut to what it holds; what is not said stays as it was."""
        said = {
            "version": self.version[:80],
            "hostname": self.hostname[:255],
            "os": self.os[:80],
            "arch": self.arch[:40],
            "address": self.address[:80],
        }
        return {name: printable(value) for name, value in said.items() if value}


@dataclass(frozen=True, slots=True, kw_only=True)
class Enrollment:
    """What an agent gets: a certificate for its host key, and whom to let in."""

    agent: AgentRecord
    workspace: Workspace
    host_certificate: str
    user_ca: str
    principals: tuple[str, ...]
    names: tuple[str, ...]


class Agents:
    """Makes, enrolls and revokes agents."""

    def __init__(
        self,
        *,
        store: Store,
        clock: Clock,
        ids: Ids,
        sealer: Sealer,
        audit: Audit,
        authority: Authority,
        registry: Registry,
    ) -> None:
        self._store = store
        self._sightings = Sightings(store)
        self._clock = clock
        self._ids = ids
        self._sealer = sealer
        self._audit = audit
        self._authority = authority
        self._registry = registry

    async def ensure(
        self, workspace_id: WorkspaceId, name: str, generation: str = ""
    ) -> tuple[AgentId, str]:
        """Id and token of a workspace's agent, made if there is none of that name.

        It is of `generation` from then on: who releases it must know that one.
        """
        if not 0 < len(name) <= _NAME_MAX:
            raise InputError("input_invalid", f"an agent's name has 1 to {_NAME_MAX} characters")
        found = await self._store.write(adopt_agent, workspace_id, name, generation)
        if found is None:
            await self._insert(workspace_id, name)
            found = await self._store.write(adopt_agent, workspace_id, name, generation)
            assert found is not None
        agent, sealed = found
        return agent.id, self._open(agent, sealed)

    async def find(
        self, workspace_id: WorkspaceId, agent_id: AgentId, generation: str
    ) -> tuple[AgentRecord, str] | None:
        """A workspace's agent and its token; None where it is revoked or of another generation."""
        found = await self._store.read(agent_of_generation, workspace_id, agent_id, generation)
        if found is None:
            return None
        agent, sealed = found
        return agent, self._open(agent, sealed)

    def _open(self, agent: AgentRecord, sealed: bytes) -> str:
        return self._sealer.open(_PURPOSE, agent.id, sealed).decode("ascii")

    async def token(self, caller: Caller, workspace: Workspace, name: str) -> tuple[AgentId, str]:
        """Id and token of an agent that a workspace's owner runs by hand; that is recorded.

        The caller may do Action.AGENT_TOKEN. Raises NotFoundError.
        """
        found = await self._store.read(agent_by_name, workspace.id, name)
        if found is None:
            raise NotFoundError(
                "agent_not_found",
                f"the workspace {workspace.name} has no agent {name}",
                hint="kled_agent in the template creates it; kled start NAME creates it again",
            )
        agent, sealed = found
        token = self._open(agent, sealed)
        resource = ActionTarget(kind="agent", name=agent.id, owner_id=workspace.owner_id)
        detail = f"workspace {workspace.id}"
        await self._audit.record(caller, Action.AGENT_TOKEN, resource, detail=detail)
        return agent.id, token

    async def configure(
        self,
        workspace_id: WorkspaceId,
        agent_id: AgentId,
        *,
        environment: Mapping[str, str],
        directory: str | None,
    ) -> None:
        """Say what the agent's sessions get; it learns that when it enrolls next.

        Raises InputError, NotFoundError.
        """
        size = sum(len(name) + len(value) for name, value in environment.items())
        if size > _ENVIRONMENT_MAX or len(directory or "") > _DIRECTORY_MAX:
            raise InputError(
                "input_invalid",
                f"an agent's env has at most {_ENVIRONMENT_MAX} characters, "
                f"its dir {_DIRECTORY_MAX}",
            )
        found = await self._store.write(
            configure_agent,
            workspace_id,
            agent_id,
            environment=dict(environment) or None,
            directory=directory or None,
        )
        if not found:
            raise NotFoundError("agent_not_found", f"the workspace has no agent {agent_id}")

    async def release(
        self, workspace_id: WorkspaceId, agent_id: AgentId, generation: str | None = None
    ) -> None:
        """Revoke an agent and close its link; one that is gone already is no error.

        Nor is one that is not of `generation` (None: of any): a later create has made it its own.
        """
        now = self._clock()
        one = (agent_id, generation)
        for revoked in await self._store.write(revoke_agents, workspace_id, now, one=one):
            self._registry.drop(AgentId(revoked), "the agent was revoked")

    async def settle(self, workspace_id: WorkspaceId, names: Mapping[AgentId, str]) -> None:
        """These are a workspace's agents, and called so; any other one is revoked.

        A template names some after their addresses, which are known when a start has been applied;
        a run that was killed leaves some that no state knows. Raises StoreError.
        """
        for agent in await self._store.read(agents_of, [workspace_id]):
            if agent.id not in names:
                await self.release(workspace_id, agent.id)
        await self._store.write(name_agents, workspace_id, names)

    async def enroll(
        self, agent: AgentRecord, facts: AgentFacts, *, host_public_key: str
    ) -> Enrollment:
        """Sign an agent's host key. Raises InputError, NotFoundError."""
        workspace = await self.workspace_of(agent)
        names = ssh_names(workspace.name, workspace.owner_name, agent.name)
        try:
            certificate = self._authority.sign_host(host_public_key, key_id=agent.id, names=names)
        except InputError as error:
            self._registry.refused(agent, error.message, self._clock())
            raise
        values = {**facts.values(), "host_public_key": host_public_key}
        await self._store.write(update_agent, agent.id, {**values, "last_seen_at": self._clock()})
        await self._audit.record(
            None,
            Action.AGENT_ENROLL,
            ActionTarget(kind="agent", name=agent.id),
            detail=f"workspace {workspace.id}, from {facts.address}",
        )
        return Enrollment(
            agent=agent,
            workspace=workspace,
            host_certificate=certificate.line,
            user_ca=self._authority.public_key,
            principals=(user_principal(workspace.owner_id),),
            names=names,
        )

    async def workspace_of(self, agent: AgentRecord) -> Workspace:
        """The workspace an agent belongs to. Raises NotFoundError."""
        workspace = await self._store.read(workspace_by_id, agent.workspace_id)
        if workspace is None:
            raise NotFoundError("workspace_not_found", "the workspace of this agent is gone")
        return workspace

    async def connected(self, agent_id: AgentId, facts: AgentFacts) -> None:
        """Remember that an agent connected, and what it said. Raises StoreError."""
        await self._note(agent_id, connected=True, values=facts.values())

    async def disconnected(self, agent_id: AgentId) -> None:
        """Remember that an agent went away. Raises StoreError."""
        await self._note(agent_id, connected=False, values={})

    async def _note(self, agent_id: AgentId, *, connected: bool, values: dict[str, str]) -> None:
        await self._sightings.note(
            Sighting(agent_id=agent_id, at=self._clock(), connected=connected, values=values)
        )

    async def _insert(self, workspace_id: WorkspaceId, name: str) -> None:
        agent_id = self._ids.new("agt")
        token = self._ids.secret(AGENT_TOKEN)
        try:
            await self._store.write(
                insert_agent,
                agent_id=agent_id,
                workspace_id=workspace_id,
                name=name,
                token_hash=hash_secret(token),
                token_sealed=self._sealer.seal(_PURPOSE, agent_id, token.encode()),
                now=self._clock(),
            )
        except DuplicateError:
            # Another run made it in the meantime: the caller reads that one.
            return
