"""The description of one build to run, and the interface through which a run reports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import trio

from kled_coord.store.records import Build, User, Workspace
from kled_coord.store.template_records import TemplateVersion
from kled_coord.terraform.process.varfile import Value


class Reporter(Protocol):
    """Receives the log lines and the progress of a run."""

    async def line(self, level: str, text: str) -> None:
        """Append a log line; level is debug, info, warning or error."""
        ...

    async def progress(self, done: int, total: int, message: str) -> None:
        """Say how many of how many steps are done."""
        ...

    def timings(self, steps: Sequence[Mapping[str, Any]]) -> None:
        """Say how long each step took (terraform/output/timings.py), in place of what was said."""
        ...

    def outputs(self, values: Mapping[str, Any]) -> None:
        """Say what the template gave out; the workspace shows them once the build succeeded."""
        ...

    async def notes(self, values: Sequence[Mapping[str, Any]]) -> None:
        """Say what the template notes on its resources, which is kept with the build."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSubject:
    """What a run of Terraform is for, as the providers are told.

    `workspace` has the version and the parameters of the run, `previous` are the parameters that
    were applied last.
    """

    build_id: str
    transition: str
    workspace: Workspace
    owner_email: str
    previous: Mapping[str, str | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One build to carry out.

    `is_empty`: a delete with nothing to destroy, for which no template has to be right.
    `defaults` are what the template gives to its own sensitive variables.
    `state_url` is the address of its state; it takes basic auth with the build's id and
    `state_secret`. `directory` is empty and private, and removed afterwards. `quiet_s` is how long
    it may show no progress, 0 for any time, None where the setting counts. `began` is when the run
    did, by Trio's clock. `forced` is set when a
    clean stop takes too long for somebody.
    """

    build: Build
    subject: RunSubject
    archive: bytes
    is_empty: bool
    variables: Mapping[str, Value]
    defaults: Sequence[str] = field(repr=False)
    state_url: str
    state_secret: str = field(repr=False)
    directory: Path
    quiet_s: int | None
    began: float
    forced: trio.Event

    @property
    def workspace(self) -> Workspace:
        """The workspace, with the build's version and parameters."""
        return self.subject.workspace


def describe_subject(
    workspace: Workspace,
    version: TemplateVersion,
    parameters: Mapping[str, str | None],
    owner: User | None,
    transition: str,
    *,
    build_id: str,
) -> RunSubject:
    """What a run of `version` with these parameters is for."""
    return RunSubject(
        build_id=build_id,
        transition=transition,
        workspace=replace(
            workspace,
            version_id=version.id,
            template_version=version.number,
            parameters=parameters,
        ),
        owner_email=(owner.email if owner else None) or "",
        # Before the first success the workspace has what it began with.
        previous={} if workspace.outputs is None else workspace.parameters,
    )
