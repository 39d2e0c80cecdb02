"""Runs a whole build: a template, a transition of a workspace, and its state in a backend."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from kled_coord.terraform.output.errors import TemplateInvalidError
from kled_coord.terraform.planned import check_agents
from kled_coord.terraform.process import command
from kled_coord.terraform.process.binary import Binary
from kled_coord.terraform.process.command import Backend
from kled_coord.terraform.process.varfile import Value
from kled_coord.terraform.providers import TerraformProvider
from kled_coord.terraform.session import (
    BuildOutput,
    Control,
    OnEvent,
    TerraformPlace,
    open_session,
    unpack,
)
from kled_coord.terraform.source.untrusted import read_file

TRANSITIONS = ("start", "stop", "delete")


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildInput:
    """What to build. `variables` are the values of the template's `variable` blocks."""

    template: bytes = field(repr=False)  # a tar of .tf files
    transition: str  # start, stop or delete
    backend: Backend
    variables: Mapping[str, Value] = field(default_factory=dict)
    marks: Mapping[str, str] = field(default_factory=dict)  # variables of all that the run starts


async def run_build(
    build: BuildInput,
    *,
    binary: Binary,
    host: object,
    directory: Path,
    on_event: OnEvent,
    control: Control | None = None,
    providers: Sequence[TerraformProvider] | None = None,
) -> BuildOutput:
    """Bring the workspace to `build.transition`; events are given to `on_event` as they come.

    `directory` is empty and private (0700); `host` answers the providers (by default all that are
    installed). Cancelled or interrupted, Terraform stops so that it saves its state. Raises
    TemplateInvalidError, TerraformFailedError, TerraformCanceledError, TerraformStalledError,
    TerraformMissingError, and of a start as `check_agents` (planned.py).
    """
    if build.transition not in TRANSITIONS:
        raise ValueError(f"unknown transition {build.transition!r}")
    work = await unpack(build.template, directory, command.backend_file(build.backend))
    place = TerraformPlace(
        binary=binary,
        host=host,
        directory=directory,
        work=work,
        control=control or Control(),
        providers=providers,
        variables=build.variables,
        backend=build.backend,
        marks=build.marks,
    )
    async with open_session(place, on_event) as session:
        await session.init(build.template)
        _check_backend(work, build.backend)
        if build.transition == "delete":
            await session.stage("destroy", command.destroy_arguments())
        else:
            await session.stage("plan", command.plan_arguments())
            if build.transition == "start":
                await check_agents(session, work)
            ephemeral = any(value.is_ephemeral for value in build.variables.values())
            await session.stage("apply", command.apply_arguments(ephemeral=ephemeral))
    return session.output()


def _check_backend(work: Path, backend: Backend) -> None:
    """A template may hold override files too; a state kept elsewhere would be lost."""
    found = read_file(work.parent, f"{work.name}/{command.INITIALIZED_FILE}")
    if found is None or not command.is_backend_in_use(found, backend):
        raise TemplateInvalidError(
            "the template configures where its state is stored",
            hint="remove the `backend` and `cloud` blocks from its override files",
        )


def load_errored_state(directory: Path) -> bytes | None:
    """Return the state Terraform could not save and left in its working directory, if any.

    `directory` is WORK_DIRECTORY of a run's. Blocks; raises OSError.
    """
    return read_file(directory.parent, f"{directory.name}/{command.ERRORED_STATE_FILE}")
