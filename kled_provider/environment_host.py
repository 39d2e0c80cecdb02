"""The host of a Terraform run by hand: reads everything from environment variables."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kled_provider.host import HostError

TRANSITIONS = ("start", "stop", "delete")


class EnvironmentHost:
    """One workspace with one agent, as the KLED_* variables describe it (docs/provider.md)."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment

    async def workspace(self) -> Mapping[str, Any]:
        """See host.Host."""
        get = self._environment.get
        name = self._require("KLED_WORKSPACE_NAME", "the workspace's name")
        transition = get("KLED_TRANSITION", "start")
        if transition not in TRANSITIONS:
            raise HostError(
                f"KLED_TRANSITION is {transition!r}", hint=f"Set it to {', '.join(TRANSITIONS)}."
            )
        return {
            "id": get("KLED_WORKSPACE_ID", name),
            "name": name,
            "transition": transition,
            "start_count": int(transition == "start"),
            "owner": get("KLED_WORKSPACE_OWNER", get("USER", "")),
            "owner_id": get("KLED_WORKSPACE_OWNER_ID", get("USER", "")),
            "owner_email": get("KLED_WORKSPACE_OWNER_EMAIL", ""),
            "access_url": self._require("KLED_COORDINATOR_URL", "where agents reach it"),
            "template_id": get("KLED_TEMPLATE_ID", ""),
            "template_name": get("KLED_TEMPLATE_NAME", ""),
            "template_version": get("KLED_TEMPLATE_VERSION", ""),
            "build_id": get("KLED_BUILD_ID", ""),
            "parameters": self._parameters(),
            "previous_parameters": {},
        }

    async def tell_parameter(self, parameter: Mapping[str, Any]) -> bool:
        """See host.Host. There is nobody to ask again."""
        return False

    async def tell_preset(self, preset: Mapping[str, Any]) -> None:
        """See host.Host. There is nobody to choose one."""

    async def ensure_agent(self, name: str, generation: str) -> Mapping[str, str]:
        """See host.Host. Nobody keeps the generation: there is no delete to tell apart."""
        only = self._environment.get("KLED_AGENT_NAME", "main")
        if name != only:
            raise HostError(
                f"There is no agent {name!r}",
                hint=f"Outside of the coordinator there is one only, {only!r} (KLED_AGENT_NAME).",
            )
        return {
            "id": self._require("KLED_AGENT_ID", "the agent's id"),
            "token": self._require("KLED_AGENT_TOKEN", "the agent's token"),
        }

    async def find_agent(
        self,
        agent_id: str,
        generation: str,
    ) -> Mapping[str, Any] | None:
        """See host.Host. What its sessions get is not known here."""
        return {"token": self._require("KLED_AGENT_TOKEN", "the agent's token")}

    async def configure_agent(
        self, agent_id: str, environment: Mapping[str, str], directory: str | None
    ) -> None:
        """See host.Host. There is nobody to tell; init_script says the same."""

    async def start_script(
        self,
        architecture: str,
        variables: Mapping[str, str],
        directory: str,
    ) -> str | None:
        """See host.Host. There are no bundles here."""
        return None

    async def has_bundle(self, architecture: str) -> bool:
        """See host.Host. Whoever runs Terraform by hand starts the agent by hand too."""
        return True

    async def release_agent(self, agent_id: str, generation: str | None) -> None:
        """See host.Host. The agent is not ours to forget: whoever set the variables made it."""

    async def process_directory(self) -> str:
        """See host.Host."""
        home = self._environment.get("HOME", "/")
        state = self._environment.get("XDG_STATE_HOME") or f"{home}/.local/state"
        directory = Path(self._environment.get("KLED_PROCESS_DIR") or f"{state}/kled/processes")
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)  # noqa: ASYNC240 - once
        return str(directory)

    async def agent_command(self) -> list[str]:
        """See host.Host."""
        command = self._environment.get("KLED_AGENT_COMMAND")
        return shlex.split(command) if command else [sys.executable, "-m", "kled_agent", "run"]

    async def confine_process(
        self,
        writable: Mapping[str, str],
        directory: str,
    ) -> list[str]:
        """See host.Host. Who runs Terraform by hand runs what they chose themselves."""
        return []

    async def note(self, message: str) -> None:
        """See host.Host. There is no build in which to say it once."""

    async def progress(self, message: str) -> None:
        """See host.Host. Terraform shows its own events; there is nobody else to tell."""

    def _require(self, variable: str, what: str) -> str:
        value = self._environment.get(variable)
        if not value:
            raise HostError(
                f"{variable} is not set",
                hint=f"Outside of the coordinator, the provider takes {what} from it.",
            )
        return value

    def _parameters(self) -> dict[str, str]:
        text = self._environment.get("KLED_PARAMETERS", "{}")
        try:
            value = json.loads(text)
        except ValueError as error:
            raise HostError(f"KLED_PARAMETERS is not JSON: {error}") from error
        if not isinstance(value, dict) or not all(isinstance(v, str) for v in value.values()):
            raise HostError("KLED_PARAMETERS is not a JSON object of strings")
        return value
