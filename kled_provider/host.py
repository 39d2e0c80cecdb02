"""The interface that the provider needs from the program that runs Terraform.

Only plain dicts, lists and strings cross here, so that neither side imports the other.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol


class HostError(Exception):
    """Something a Host could not do. `message` says what, `hint` what to do about it.

    A Host need not raise this very class: any exception whose `message` is a string counts.
    """

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class Host(Protocol):
    """One build of one workspace. Every method may wait, and may raise as HostError says."""

    async def workspace(self) -> Mapping[str, Any]:
        """Describe the workspace.

        Keys: id, name, transition ("start", "stop" or "delete"), start_count (1 while starting,
        else 0), owner, owner_id, owner_email ("" where there is none), access_url (where agents
        reach the coordinator), template_id, template_name, template_version, build_id, parameters
        (the chosen values, strings by name),
        previous_parameters (those that were applied last; none before the first success).
        """
        ...

    async def tell_parameter(self, parameter: Mapping[str, Any]) -> bool:
        """Say which parameter the template has, the value it gets, and what is wrong with that.

        Keys: the attributes of `kled_parameter` as the template has them: name, display_name,
        description, type, form_type, styling, default, mutable, ephemeral, icon, order, option
        (a list of name, value, description, icon), validation (None, or min, max, monotonic,
        regex, error); absent ones are None, but form_type, which has its default. Besides
        `value`, a string, and `error`: None, or a sentence. A parameter that needs a value and has
        none has an error, and the value that stands for nothing in its type. Returns whether
        Terraform goes on with a value that has an
        error: it does while questions are asked, and not in a build.
        """
        ...

    async def tell_preset(self, preset: Mapping[str, Any]) -> None:
        """Say which preset the template has: name, description, icon, default, parameters."""
        ...

    async def ensure_agent(self, name: str, generation: str) -> Mapping[str, str]:
        """Return "id" and "token" of the workspace's agent of that name, made if need be.

        The same workspace and name give the same id and token. The agent is of `generation` from
        then on.
        """
        ...

    async def find_agent(self, agent_id: str, generation: str) -> Mapping[str, Any] | None:
        """Return "token" of an agent, and "env" and "dir" as configured, where that is known.

        None where it was released, or is not of `generation`. Changes nothing.
        """
        ...

    async def configure_agent(
        self, agent_id: str, environment: Mapping[str, str], directory: str | None
    ) -> None:
        """Say which variables an agent's sessions get and where they start (None: at home)."""
        ...

    async def start_script(
        self, architecture: str, variables: Mapping[str, str], directory: str
    ) -> str | None:
        """Return a sh script that fetches and starts an agent, without a secret in it.

        `architecture` is amd64 or arm64; `variables` are exported, `directory` ("": none) is made
        and entered, seen from the home directory. None where the agent has to be installed.
        """
        ...

    async def has_bundle(self, architecture: str) -> bool:
        """Whether `start_script` will find an agent to fetch; True where nobody needs to know."""
        ...

    async def release_agent(self, agent_id: str, generation: str | None) -> None:
        """Forget the agent; one that is gone, or not of `generation` (None: any), is no error."""
        ...

    async def process_directory(self) -> str:
        """Return a private (0700) directory for the records and logs of `kled_process`."""
        ...

    async def agent_command(self) -> list[str]:
        """Return the argument vector that starts an agent on this machine."""
        ...

    async def confine_process(self, writable: Mapping[str, str], directory: str) -> list[str]:
        """Return what comes before a process's argument vector to confine it; nothing: it is not.

        The process starts in `directory`, and may write `writable`: paths as it sees them, and
        the directories they are outside. It ends with its parent.
        """
        ...

    async def note(self, message: str) -> None:
        """Tell the person something once in a build, however often it is said."""
        ...

    async def progress(self, message: str) -> None:
        """Tell the person what is going on, finer than Terraform's own events."""
        ...
