"""What a worker asks of whatever carries a build out. The real one drives Terraform."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import trio

from kled_coord.store.records import Build, Workspace
from kled_coord.terraform.varfile import Value

# Raises InputError("template_invalid") with file, line and Terraform's words.
TemplateChecker = Callable[[bytes], Awaitable[None]]


class Reporter(Protocol):
    """Where a run says what it does."""

    async def line(self, level: str, text: str) -> None:
        """Append a log line; level is debug, info, warning or error."""
        ...

    async def progress(self, done: int, total: int, message: str) -> None:
        """Say how many of how many steps are done."""
        ...

    def outputs(self, values: Mapping[str, Any]) -> None:
        """Say what the template gave out; the workspace shows them once the build succeeded."""
        ...


class ProviderHost(Protocol):
    """What Terraform's `kled` provider needs of the coordinator (kled_provider/host.py)."""

    async def workspace(self) -> Mapping[str, Any]:
        """Describe the workspace."""
        ...

    async def tell_parameter(self, parameter: Mapping[str, Any]) -> bool:
        """Hear of a parameter; returns whether Terraform goes on where its value has an error."""
        ...

    async def tell_preset(self, preset: Mapping[str, Any]) -> None:
        """Hear of a preset."""
        ...

    async def ensure_agent(self, name: str, generation: str) -> Mapping[str, str]:
        """`id` and `token` of the workspace's agent of that name, of `generation` from now on."""
        ...

    async def find_agent(self, agent_id: str, generation: str) -> Mapping[str, Any] | None:
        """`token`, `env` and `dir` of an agent; None where there is none of that generation."""
        ...

    async def configure_agent(
        self, agent_id: str, environment: Mapping[str, str], directory: str | None
    ) -> None:
        """Say which variables an agent's sessions get and where they start (None: at home)."""
        ...

    async def release_agent(self, agent_id: str, generation: str | None) -> None:
        """Revoke an agent; one that is gone, or of another generation, is no error."""
        ...

    async def process_directory(self) -> str:
        """A private directory for `kled_process`."""
        ...

    async def agent_command(self) -> list[str]:
        """How to start an agent on this machine."""
        ...

    async def confine_process(self, writable: Mapping[str, str], directory: str) -> list[str]:
        """What comes before a process's argument vector to confine it; nothing: it is not."""
        ...

    async def note(self, message: str) -> None:
        """Tell the person something once in a build, however often it is said."""
        ...

    async def progress(self, message: str) -> None:
        """Tell the person what is going on."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One build to carry out.

    `is_empty`: a delete with nothing to destroy, for which no template has to be right.
    `workspace` has the build's version and parameters, `previous` are those that were applied last.
    `state_url` is the address of its state; it takes basic auth with the build's id and
    `state_secret`. `directory` is empty and private, and removed afterwards. `quiet_s` is how long
    it may show no progress, 0 for any time, None where the setting counts. `forced` is set when a
    clean stop takes too long for somebody.
    """

    build: Build
    workspace: Workspace
    owner_email: str
    previous: Mapping[str, str | None]
    archive: bytes
    is_empty: bool
    variables: Mapping[str, Value]
    state_url: str
    state_secret: str = field(repr=False)
    directory: Path
    quiet_s: int | None
    forced: trio.Event


# Returns when the build succeeded and raises KledError when it failed. Cancelled, it stops cleanly
# (shielded, bounded) before it lets the cancellation through.
BuildRunner = Callable[[Job, ProviderHost, Reporter], Awaitable[None]]
