"""The host that the coordinator gives to Terraform's `kled` provider, in a build or a plan."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import trio

from kled_coord.builds.job import Reporter, RunSubject
from kled_coord.bundles.script import render_script
from kled_coord.bundles.store import BundleStore
from kled_coord.sandbox.choice import SandboxChoice
from kled_coord.terraform.checking import SchemaOnlyHost
from kled_coord.workspaces.agents import Agents
from kled_wire.errors import InputError
from kled_wire.names import AgentId


class ReadingHost(SchemaOnlyHost):
    """Answers what a provider asks to read and to plan; the rest is refused.

    Has the methods of `kled_provider.host.Host`, some of them in what derives from it.
    """

    def __init__(
        self,
        *,
        subject: RunSubject,
        agents: Agents,
        access_url: str,
        bundles: BundleStore,
        processes: Path,
    ) -> None:
        self._workspace = subject.workspace
        self._subject = subject
        self._agents = agents
        self._access_url = access_url
        self._bundles = bundles
        self._processes = processes

    async def workspace(self) -> Mapping[str, Any]:
        """Describe the workspace as the provider's `kled_workspace` shows it."""
        workspace, subject = self._workspace, self._subject
        return {
            "id": workspace.id,
            "name": workspace.name,
            "transition": subject.transition,
            "start_count": 1 if subject.transition == "start" else 0,
            "owner": workspace.owner_name,
            "owner_id": workspace.owner_id,
            "owner_email": subject.owner_email,
            "access_url": self._access_url,
            "template_id": workspace.template_id,
            "template_name": workspace.template,
            "template_version": str(workspace.template_version),
            "build_id": subject.build_id,
            "parameters": _plain(workspace.parameters),
            "previous_parameters": _plain(subject.previous),
        }

    async def tell_parameter(self, parameter: Mapping[str, Any]) -> bool:  # noqa: ARG002
        """A start fails with the parameter's own message; a stop goes on, whatever was chosen."""
        return self._subject.transition != "start"

    async def tell_preset(self, preset: Mapping[str, Any]) -> None:
        """A build has its values already."""

    async def find_agent(self, agent_id: str, generation: str) -> Mapping[str, Any] | None:
        """What this workspace's agent has; None where there is none of that generation."""
        found = await self._agents.find(self._workspace.id, AgentId(agent_id), generation)
        if found is None:
            return None
        agent, token = found
        return {"token": token, "env": agent.environment, "dir": agent.directory}

    async def start_script(
        self, architecture: str, variables: Mapping[str, str], directory: str
    ) -> str | None:
        """A script that fetches the newest bundle of that architecture, if there is one."""
        newest = await trio.to_thread.run_sync(self._bundles.newest)
        fetched = {name: digest for name, digest in newest.items() if name == architecture}
        return render_script(self._access_url, fetched, variables, directory)

    async def has_bundle(self, architecture: str) -> bool:  # noqa: ARG002 - Host's signature
        """Who pushed the template was told."""
        return True

    async def process_directory(self) -> str:
        """A private (0700) directory of this workspace for processes' records and logs."""
        path = trio.Path(self._processes / self._workspace.id)
        await path.mkdir(mode=0o700, parents=True, exist_ok=True)
        return str(path)


class PreviewHost(ReadingHost):
    """Answers the provider in a plan without a build: changes nothing, and has no log."""

    async def note(self, message: str) -> None:
        """There is nobody who reads it."""

    async def progress(self, message: str) -> None:
        """There is nobody who reads it."""


class BuildHost(ReadingHost):
    """Answers the provider for one build."""

    def __init__(
        self,
        *,
        subject: RunSubject,
        agents: Agents,
        reporter: Reporter,
        access_url: str,
        bundles: BundleStore,
        processes: Path,
        sandbox: SandboxChoice,
    ) -> None:
        super().__init__(
            subject=subject,
            agents=agents,
            access_url=access_url,
            bundles=bundles,
            processes=processes,
        )
        self._reporter = reporter
        self._sandbox = sandbox
        self._noted: set[str] = set()

    async def ensure_agent(self, name: str, generation: str) -> Mapping[str, str]:
        """`id` and `token` of the workspace's agent of that name, the same at every build."""
        agent_id, token = await self._agents.ensure(self._workspace.id, name, generation)
        return {"id": agent_id, "token": token}

    async def configure_agent(
        self, agent_id: str, environment: Mapping[str, str], directory: str | None
    ) -> None:
        """Say which variables the sessions of this workspace's agent get and where they start.

        What cannot be fails a start only; a stop goes on, and the next start says it again.
        """
        try:
            await self._agents.configure(
                self._workspace.id, AgentId(agent_id), environment=environment, directory=directory
            )
        except InputError as error:
            if self._subject.transition == "start":
                raise
            await self._reporter.line("warning", error.line())

    async def release_agent(self, agent_id: str, generation: str | None) -> None:
        """Revoke an agent of this workspace; one that is gone already is no error."""
        await self._agents.release(self._workspace.id, AgentId(agent_id), generation)

    async def agent_command(self) -> list[str]:
        """How to start an agent on this machine."""
        return [sys.executable, "-m", "kled_agent", "run"]

    async def confine_process(self, writable: Mapping[str, str], directory: str) -> list[str]:
        """What comes before a process's argument vector to confine it; nothing: it is not."""
        sandbox = (await self._sandbox.make()).sandbox
        if sandbox is None:
            return []
        argv = sandbox.confine(
            (),
            await sandbox.look(),
            directory=Path(directory),
            writable={Path(inside): Path(outside) for inside, outside in writable.items()},
            options=("--die-with-parent",),  # its init would go on without it
        )
        return list(argv)

    async def note(self, message: str) -> None:
        """Tell the person something once in this build, however often it is said."""
        if message not in self._noted:
            self._noted.add(message)
            await self._reporter.line("info", message)

    async def progress(self, message: str) -> None:
        """Tell the person what is going on."""
        await self._reporter.line("info", message)


def _plain(parameters: Mapping[str, str | None]) -> dict[str, str]:
    """Without the sensitive ones, whose values only the template's own variables give."""
    return {name: value for name, value in parameters.items() if value is not None}
