"""The Host of a run whose worker is another process: what it asks was said when the run began."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NoReturn

import trio

from kled_provider.host import HostError
from kled_provider.kata.serving.lines import LineStream


class RunHost:
    """Has the methods of kled_provider.host.Host; agents and parameters are another provider's."""

    def __init__(self, workspace: Mapping[str, Any], lines: LineStream) -> None:
        self._workspace = workspace
        self._lines = lines
        self._sending = trio.Lock()

    async def workspace(self) -> Mapping[str, Any]:
        """See host.Host."""
        return self._workspace

    async def progress(self, message: str) -> None:
        """See host.Host."""
        await self._tell("progress", message)

    async def note(self, message: str) -> None:
        """See host.Host. The worker says each once."""
        await self._tell("note", message)

    async def _tell(self, kind: str, message: str) -> None:
        async with self._sending:
            try:
                await self._lines.send({kind: message})
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                return  # the run has ended, and what goes on finishes alone

    async def tell_parameter(self, parameter: Mapping[str, Any]) -> bool:
        """See host.Host."""
        return self._refuse(parameter)

    async def tell_preset(self, preset: Mapping[str, Any]) -> None:
        """See host.Host."""
        self._refuse(preset)

    async def ensure_agent(self, name: str, generation: str) -> Mapping[str, str]:
        """See host.Host."""
        return self._refuse(name, generation)

    async def find_agent(self, agent_id: str, generation: str) -> Mapping[str, Any] | None:
        """See host.Host."""
        return self._refuse(agent_id, generation)

    async def configure_agent(
        self, agent_id: str, environment: Mapping[str, str], directory: str | None
    ) -> None:
        """See host.Host."""
        self._refuse(agent_id, environment, directory)

    async def start_script(
        self, architecture: str, variables: Mapping[str, str], directory: str
    ) -> str | None:
        """See host.Host."""
        return self._refuse(architecture, variables, directory)

    async def has_bundle(self, architecture: str) -> bool:
        """See host.Host."""
        return self._refuse(architecture)

    async def release_agent(self, agent_id: str, generation: str | None) -> None:
        """See host.Host."""
        self._refuse(agent_id, generation)

    async def process_directory(self) -> str:
        """See host.Host."""
        return self._refuse()

    async def agent_command(self) -> list[str]:
        """See host.Host."""
        return self._refuse()

    async def confine_process(self, writable: Mapping[str, str], directory: str) -> list[str]:
        """See host.Host."""
        return self._refuse(writable, directory)

    def _refuse(self, *_asked: object) -> NoReturn:
        raise HostError("the service of the provider kata was asked for what is the coordinator's")
