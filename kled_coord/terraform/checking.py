"""Checks a template before any workspace uses it: `init`, `validate`, and a plan."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import trio

from kled_coord.terraform.output.errors import (
    TemplateInvalidError,
    TerraformFailedError,
    first_error,
)
from kled_coord.terraform.output.events import STEPS, Event, ResourcePlanned, TerraformDiagnostic
from kled_coord.terraform.planned import check_agents, check_apps
from kled_coord.terraform.process import command
from kled_coord.terraform.process.binary import Binary
from kled_coord.terraform.process.varfile import Value
from kled_coord.terraform.providers import TerraformProvider
from kled_coord.terraform.session import Control, TerraformPlace, open_session, unpack
from kled_coord.terraform.source.placing import find_place
from kled_coord.terraform.source.targets import list_targets
from kled_coord.terraform.source.untrusted import read_sources
from kled_wire.errors import KledError


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckInput:
    """What to check. `is_planned` where the variables that need a value have one."""

    template: bytes = field(repr=False)
    is_planned: bool = False
    variables: Mapping[str, Value] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckOutput:
    """What the check has found: the changes of a first start, and warnings.

    `has_parameters`: the template declares parameters or presets.
    """

    has_parameters: bool
    changes: tuple[ResourcePlanned, ...]
    warnings: tuple[TerraformDiagnostic, ...]


class SchemaOnlyHost:
    """The host of no build: it refuses what nobody may ask in a check or a plan."""

    def __getattr__(self, name: str) -> Callable[..., Awaitable[object]]:
        async def refuse(*_arguments: object) -> object:
            raise KledError("host_absent", f"{name} is not available in a plan")

        return refuse


async def check_template(
    check: CheckInput,
    *,
    binary: Binary,
    directory: Path,
    host: object | None = None,
    providers: Sequence[TerraformProvider] | None = None,
    control: Control | None = None,
) -> CheckOutput:
    """Let Terraform check a template without any workspace.

    `directory` is empty and private. Raises TemplateInvalidError naming file, line and reason, and
    as `check_agents` and `check_apps` (planned.py).
    """
    place = TerraformPlace(
        binary=binary,
        host=SchemaOnlyHost() if host is None else host,
        directory=directory,
        work=await unpack(check.template, directory, command.no_backend_file()),
        control=control or Control(),
        providers=providers,
        variables=check.variables,
    )
    changes: list[ResourcePlanned] = []

    async def note(event: Event) -> None:
        if isinstance(event, ResourcePlanned) and event.action in STEPS:
            changes.append(event)
        await trio.lowlevel.checkpoint()

    async with open_session(place, note) as session:
        with refusing(place.work):
            await session.init(check.template)
        found = await session.validate()
        errors = [d for d in found if d.severity == "error"]
        if errors:
            raise _refused(first_error(errors, ""), found, place.work)
        if check.is_planned:
            with refusing(place.work):
                await session.stage("plan", command.plan_arguments())
            await check_agents(session, place.work)
            await check_apps(session, place.work, [change.address for change in changes])
        warnings = dict.fromkeys((*found, *session.output().warnings))
        has_parameters = bool(await trio.to_thread.run_sync(list_targets, place.work))
    return CheckOutput(
        has_parameters=has_parameters, changes=tuple(changes), warnings=tuple(warnings)
    )


@contextmanager
def refusing(work: Path) -> Iterator[None]:
    """Where Terraform fails in the block, the template in `work` is what is wrong."""
    try:
        yield
    except TerraformFailedError as error:
        raise _refused(error.message, error.diagnostics, work) from error


def _refused(
    message: str, diagnostics: Sequence[TerraformDiagnostic], work: Path
) -> TemplateInvalidError:
    errors = [d for d in diagnostics if d.severity == "error"]
    if errors and not any(d.file for d in errors):
        place = find_place(message, read_sources(work))
        message = f"{place}: {message}" if place else message
    return TemplateInvalidError(message, diagnostics=diagnostics)
