"""A whole build: a template, a workspace's transition, and Terraform's state somewhere else.

Everything happens in a private directory that the caller makes fresh and throws away: a plan file
holds secrets in clear, and so does Terraform's working data.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import trio

from kled_coord.sandbox.bubblewrap import View
from kled_coord.sandbox.choice import Sandbox
from kled_coord.terraform import command
from kled_coord.terraform.archive import unpack_template
from kled_coord.terraform.binary import Binary
from kled_coord.terraform.command import Backend
from kled_coord.terraform.confined import confined
from kled_coord.terraform.errors import (
    TemplateInvalidError,
    TerraformCanceledError,
    TerraformFailedError,
    TerraformStalledError,
    first_error,
)
from kled_coord.terraform.events import (
    DiagnosticFound,
    Event,
    OutputsFound,
    StageBegan,
    StillWorking,
    TemplateOutput,
    TerraformDiagnostic,
    TerraformMessage,
    TerraformProgress,
    parse_line,
    parse_validation,
)
from kled_coord.terraform.leftovers import Choice, end_processes, marked
from kled_coord.terraform.plugincache import PluginCache
from kled_coord.terraform.providers import TerraformProvider, open_reattach
from kled_coord.terraform.runner import Interrupt, StopLimits, run_terraform
from kled_coord.terraform.untrusted import read_file, remove_file
from kled_coord.terraform.varfile import Value, render_values
from kled_wire.errors import KledError

OnEvent = Callable[[Event], Awaitable[None]]

WORK_DIRECTORY = "template"  # within a run's directory: the template, and where Terraform runs
TRANSITIONS = ("start", "stop", "delete")
RUN_MARK = "KLED_RUN"  # the variable that says which run a program is of: the run's directory
CUT_GRACE_S = 2.0  # for what a run that was cut off has started, until SIGKILL
MAX_VALIDATION_BYTES = 8 << 20
MAX_DIAGNOSTICS = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildInput:
    """What to build. `variables` are the values of the template's `variable` blocks."""

    template: bytes = field(repr=False)  # a tar of .tf files
    transition: str  # start, stop or delete
    backend: Backend
    variables: Mapping[str, Value] = field(default_factory=dict)
    marks: Mapping[str, str] = field(default_factory=dict)  # variables of all that the run starts


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildOutput:
    """What a build came to."""

    outputs: Mapping[str, TemplateOutput]
    progress: TerraformProgress
    warnings: tuple[TerraformDiagnostic, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Control:
    """How a running build is stopped, what its processes inherit, and what confines them.

    A stage that shows no progress for `quiet_s` is stopped as by `interrupt.ask`. Of `inherited`
    command.INHERITED is kept; `given` is the owner's for Terraform alone.
    """

    interrupt: Interrupt = field(default_factory=Interrupt)
    limits: StopLimits = field(default_factory=StopLimits)
    quiet_s: float = math.inf
    inherited: Mapping[str, str] = field(default_factory=lambda: dict(os.environ), repr=False)
    given: Mapping[str, str] = field(default_factory=dict, repr=False)
    sandbox: Sandbox | None = None


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
    TerraformMissingError.
    """
    if build.transition not in TRANSITIONS:
        raise ValueError(f"unknown transition {build.transition!r}")
    work = await _prepare(build.template, directory)
    (work / command.BACKEND_FILE).unlink(missing_ok=True)
    (work / command.BACKEND_FILE).write_text(command.backend_file(build.backend))
    control = control or Control()
    is_confined = control.sandbox is not None
    secrets = _secret_files(directory, work, build.variables)
    reattached = open_reattach(host, directory, providers, is_confined=is_confined)
    async with secrets, reattached as reattach:
        environment = command.clean_environment(
            control.inherited,
            given=control.given,
            home=directory,
            reattach=reattach,
            backend=build.backend,
            marks={**build.marks, RUN_MARK: str(directory)},
        )
        cache = PluginCache(environment, directory)
        environment |= await trio.to_thread.run_sync(cache.lend, work)
        session = _Session(binary, work, environment, on_event, control)
        await session.stage("init", command.init_arguments(backend=True))
        await trio.to_thread.run_sync(cache.publish)
        _check_backend(work, build.backend)
        if build.transition == "delete":
            await session.stage("destroy", command.destroy_arguments())
        else:
            await session.stage("plan", command.plan_arguments())
            ephemeral = any(value.is_ephemeral for value in build.variables.values())
            await session.stage("apply", command.apply_arguments(ephemeral=ephemeral))
    return session.output()


async def check_template(
    template: bytes,
    *,
    binary: Binary,
    directory: Path,
    providers: Sequence[TerraformProvider] | None = None,
    control: Control | None = None,
) -> tuple[TerraformDiagnostic, ...]:
    """Let Terraform check a template without any workspace; returns its warnings.

    `directory` is empty and private. Raises TemplateInvalidError naming file, line and reason.
    """
    work = await _prepare(template, directory)
    control = control or Control()
    is_confined = control.sandbox is not None
    async with open_reattach(
        SchemaOnlyHost(), directory, providers, is_confined=is_confined
    ) as reattach:
        environment = command.clean_environment(
            control.inherited,
            given=control.given,
            home=directory,
            reattach=reattach,
            marks={RUN_MARK: str(directory)},
        )
        cache = PluginCache(environment, directory)
        environment |= await trio.to_thread.run_sync(cache.lend, work)
        session = _Session(binary, work, environment, _ignore, control)
        try:
            await session.stage("init", command.init_arguments(backend=False))
        except TerraformFailedError as error:
            raise TemplateInvalidError(error.message, diagnostics=error.diagnostics) from error
        await trio.to_thread.run_sync(cache.publish)
        found = await session.validate()
    errors = [d for d in found if d.severity == "error"]
    if errors:
        raise TemplateInvalidError(first_error(errors, ""), diagnostics=found)
    return tuple(found)


@asynccontextmanager
async def _secret_files(
    directory: Path, work: Path, variables: Mapping[str, Value]
) -> AsyncIterator[None]:
    """Write the values, for this user alone. They go with the run, as does the plan with them."""
    values = directory / command.VALUES_FILE
    values.touch(mode=0o600)
    values.write_text(render_values(variables), encoding="utf-8")
    try:
        yield
    finally:
        remove_file(directory, command.VALUES_FILE)
        remove_file(directory, f"{work.name}/{command.PLAN_FILE}")


def _check_backend(work: Path, backend: Backend) -> None:
    """A template may hold override files too; a state kept elsewhere would be lost."""
    found = read_file(work.parent, f"{work.name}/{command.INITIALIZED_FILE}")
    if found is None or not command.is_backend_in_use(found, backend):
        raise TemplateInvalidError(
            "the template keeps its state elsewhere",
            hint="remove the `backend` and `cloud` blocks from its override files",
        )


class SchemaOnlyHost:
    """The host of no build: while a template is checked, providers have nothing to ask."""

    def __getattr__(self, name: str) -> Callable[..., Awaitable[object]]:
        async def refuse(*_arguments: object) -> object:
            raise KledError("host_absent", f"{name} is not available while a template is checked")

        return refuse


def load_errored_state(directory: Path) -> bytes | None:
    """Return the state Terraform could not save and left in its working directory, if any.

    `directory` is WORK_DIRECTORY of a run's. Blocks; raises OSError.
    """
    return read_file(directory.parent, f"{directory.name}/{command.ERRORED_STATE_FILE}")


def of_run(directory: Path) -> Choice:
    """Choose the processes of the run that has this directory."""
    # Earlier versions set no mark, but always this home.
    path = re.escape(os.fsencode(directory))
    return marked(re.compile(rb"(?:%s|HOME)=%s" % (RUN_MARK.encode(), path)))


async def _prepare(template: bytes, directory: Path) -> Path:
    work = directory / WORK_DIRECTORY
    work.mkdir(mode=0o700)
    await trio.to_thread.run_sync(unpack_template, template, work)
    if not any(work.glob("*.tf")) and not any(work.glob("*.tf.json")):
        raise TemplateInvalidError(
            "the template has no .tf file at its top",
            hint="make the archive inside the folder that holds main.tf",
        )
    return work


async def _ignore(_event: Event) -> None:
    await trio.lowlevel.checkpoint()


class _Session:
    """The commands of one build, one after the other, and what they said."""

    def __init__(
        self,
        binary: Binary,
        directory: Path,
        environment: Mapping[str, str],
        on_event: OnEvent,
        control: Control,
    ) -> None:
        self._make = partial(
            command.terraform_command, binary, environment=environment, directory=directory
        )
        self._directory = directory
        self._processes = of_run(directory.parent)
        self._on_event = on_event
        self._control = control
        self._view: View | None = None  # of the machine, looked at once for the whole run
        self._patience = trio.CancelScope()
        self._busy_with: frozenset[str] = frozenset()
        self._progress = TerraformProgress()
        self._outputs: Mapping[str, TemplateOutput] = {}
        self._diagnostics: list[TerraformDiagnostic] = []

    def output(self) -> BuildOutput:
        """Return what all the stages came to."""
        warnings = tuple(d for d in self._diagnostics if d.severity != "error")
        return BuildOutput(outputs=self._outputs, progress=self._progress, warnings=warnings)

    async def stage(self, name: str, arguments: tuple[str, ...]) -> None:
        """Run one command that prints events. Raises as run_build says."""
        await self._on_event(StageBegan(name))
        seen = len(self._diagnostics)
        code = await self._run(arguments, self._on_line)
        if code != 0:
            self._raise_if_canceled(name)
            raise TerraformFailedError(
                name,
                self._diagnostics[seen:],
                _ended(name, code, self._last_words),
            )

    async def validate(self) -> list[TerraformDiagnostic]:
        """Run `validate`, which prints one document, not events."""
        document = bytearray()

        async def collect(line: bytes) -> None:
            await trio.lowlevel.checkpoint()
            if len(document) + len(line) < MAX_VALIDATION_BYTES:
                document.extend(line + b"\n")

        code = await self._run(command.validate_arguments(), collect)
        found = parse_validation(bytes(document))
        if found is None or (code != 0 and not found):
            self._raise_if_canceled("validate")
            raise TerraformFailedError("validate", [], _ended("validate", code, self._last_words))
        return found

    async def _run(
        self, arguments: tuple[str, ...], on_line: Callable[[bytes], Awaitable[None]]
    ) -> int:
        self._raise_if_canceled(arguments[0])
        self._last_words = ""
        code = None
        try:
            code = await self._run_until_quiet(arguments, on_line)
        finally:
            # What a whole run leaves running on purpose is kept until the workspace stops. Here a
            # provisioner was cut off, and what it started would do so behind everybody's back.
            if code is None or code < 0 or self._control.interrupt.asked.is_set():
                with trio.CancelScope(shield=True):
                    await end_processes(self._processes, grace_s=CUT_GRACE_S)
        return code

    async def _run_until_quiet(
        self, arguments: tuple[str, ...], on_line: Callable[[bytes], Awaitable[None]]
    ) -> int:
        made = self._make(arguments)
        if self._control.sandbox is not None:
            if self._view is None:
                self._view = await self._control.sandbox.look()
            made = confined(made, self._control.sandbox, self._view)
        # Cancelled by its deadline, run_terraform stops Terraform as for anybody else.
        with trio.CancelScope() as self._patience:
            self._wait_on()
            return await run_terraform(
                made,
                on_line=on_line,
                on_stderr=self._on_stderr,
                interrupt=self._control.interrupt,
                limits=self._control.limits,
            )
        raise TerraformStalledError(
            arguments[0],
            self._control.quiet_s,
            ", ".join(sorted(self._busy_with)[:3]),
        )

    def _wait_on(self) -> None:
        """There was progress: the time in which there has to be some begins anew."""
        self._patience.deadline = trio.current_time() + self._control.quiet_s

    async def _on_line(self, line: bytes) -> None:
        event = parse_line(line)
        if event is None:
            return
        if not isinstance(event, StillWorking):
            self._wait_on()
        self._progress = self._progress.after(event)
        if not self._patience.cancel_called:
            self._busy_with = self._progress.running
        match event:
            case OutputsFound(outputs):
                self._outputs = outputs
            case DiagnosticFound(diagnostic) if len(self._diagnostics) < MAX_DIAGNOSTICS:
                self._diagnostics.append(diagnostic)
        await self._on_event(event)

    async def _on_stderr(self, line: bytes) -> None:
        text = line.decode("utf-8", "replace").strip()
        if text:
            self._wait_on()
            self._last_words = text
            await self._on_event(TerraformMessage("warn", text))

    def _raise_if_canceled(self, stage: str) -> None:
        if self._control.interrupt.asked.is_set():
            raise TerraformCanceledError(stage)


def _ended(stage: str, code: int, last_words: str) -> str:
    how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
    return f"terraform {stage} {how}" + (f": {last_words}" if last_words else "")
