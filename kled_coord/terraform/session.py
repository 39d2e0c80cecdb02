"""Runs Terraform's commands in one directory in order, and collects their output.

Everything happens in a private directory that the caller makes fresh and throws away: a plan file
holds secrets in clear, and so does Terraform's working data.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import trio

from kled_coord.sandbox.bubblewrap import View
from kled_coord.sandbox.choice import Sandbox
from kled_coord.terraform.confined import confined
from kled_coord.terraform.modulecache import ModuleCache
from kled_coord.terraform.output.errors import (
    TemplateInvalidError,
    TerraformCanceledError,
    TerraformFailedError,
    TerraformStalledError,
)
from kled_coord.terraform.output.events import (
    DiagnosticFound,
    Event,
    OutputsFound,
    ResourcePlanned,
    ResourceRefreshed,
    StageBegan,
    StillWorking,
    TemplateOutput,
    TerraformDiagnostic,
    TerraformMessage,
    TerraformProgress,
    parse_line,
    parse_validation,
)
from kled_coord.terraform.plugincache import PluginCache
from kled_coord.terraform.process import command
from kled_coord.terraform.process.binary import Binary
from kled_coord.terraform.process.command import Backend
from kled_coord.terraform.process.leftovers import Choice, end_processes, marked
from kled_coord.terraform.process.runner import Interrupt, StopLimits, run_terraform
from kled_coord.terraform.process.varfile import Value, name_at, render_values
from kled_coord.terraform.providers import TerraformProvider, open_reattach
from kled_coord.terraform.source.agents import is_agent
from kled_coord.terraform.source.archive import unpack_template
from kled_coord.terraform.source.untrusted import remove_file

OnEvent = Callable[[Event], Awaitable[None]]

WORK_DIRECTORY = "template"  # within a run's directory: the template, and where Terraform runs
RUN_MARK = "KLED_RUN"  # the variable that says which run a program is of: the run's directory
CUT_GRACE_S = 2.0  # for what a run that was cut off has started, until SIGKILL
MAX_VALIDATION_BYTES = 8 << 20
MAX_PLAN_BYTES = 4 << 20
MAX_DIAGNOSTICS = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildOutput:
    """The result of a build."""

    outputs: Mapping[str, TemplateOutput]
    progress: TerraformProgress
    warnings: tuple[TerraformDiagnostic, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Control:
    """How a running build is stopped, what its processes inherit, and what confines them.

    A stage that shows no progress for `quiet_s` is stopped as by `interrupt.ask`. Of `inherited`
    command.INHERITED is kept; `given` is the owner's for Terraform alone. Modules that a template
    gets from elsewhere are kept in `modules` for its next runs; None: they are not.
    """

    interrupt: Interrupt = field(default_factory=Interrupt)
    limits: StopLimits = field(default_factory=StopLimits)
    quiet_s: float = math.inf
    inherited: Mapping[str, str] = field(default_factory=lambda: dict(os.environ), repr=False)
    given: Mapping[str, str] = field(default_factory=dict, repr=False)
    sandbox: Sandbox | None = None
    modules: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TerraformPlace:
    """Where a session runs Terraform, and what for.

    `directory` is the run's, its programs' home. `work` has the template; outside of `directory`
    it is only read. `marks` are variables of all that the run starts.
    """

    binary: Binary
    host: object
    directory: Path
    work: Path
    control: Control
    providers: Sequence[TerraformProvider] | None = None
    variables: Mapping[str, Value] = field(default_factory=dict)
    backend: Backend | None = None
    marks: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, str] = field(default_factory=dict)


@asynccontextmanager
async def open_session(place: TerraformPlace, on_event: OnEvent) -> AsyncIterator[TerraformSession]:
    """Serve the providers and write the values' file for the commands of the block."""
    control, directory = place.control, place.directory
    secrets = _secret_files(directory, place.work, place.variables)
    is_confined = control.sandbox is not None
    reattached = open_reattach(place.host, directory, place.providers, is_confined=is_confined)
    async with secrets, reattached as reattach:
        environment = command.clean_environment(
            control.inherited,
            given=control.given,
            home=directory,
            reattach=reattach,
            backend=place.backend,
            marks={**place.marks, RUN_MARK: str(directory)},
        )
        yield TerraformSession(place, environment | dict(place.settings), on_event)


def of_run(directory: Path) -> Choice:
    """Choose the processes of the run that has this directory."""
    # Earlier versions set no mark, but always this home.
    path = re.escape(os.fsencode(directory))
    return marked(re.compile(rb"(?:%s|HOME)=%s" % (RUN_MARK.encode(), path)))


async def ignore_event(_event: Event) -> None:
    """Drop an event: the callback of a session whose events nobody reads."""
    await trio.lowlevel.checkpoint()


async def unpack(template: bytes, directory: Path, backend: str) -> Path:
    """Unpack a template into a run's directory, for a backend; returns where it is.

    Raises TemplateInvalidError.
    """
    work = directory / WORK_DIRECTORY
    work.mkdir(mode=0o700)
    await trio.to_thread.run_sync(unpack_template, template, work)
    if not any(work.glob("*.tf")) and not any(work.glob("*.tf.json")):
        raise TemplateInvalidError(
            "the template has no .tf file in its top directory",
            hint="make the archive inside the folder that holds main.tf",
        )
    (work / command.BACKEND_FILE).unlink(missing_ok=True)
    (work / command.BACKEND_FILE).write_text(backend)
    return work


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


class TerraformSession:
    """The commands of one run.

    `settings` is what Terraform was told of its caches, `agents` are the addresses of those that
    it told of.
    """

    def __init__(
        self, place: TerraformPlace, environment: Mapping[str, str], on_event: OnEvent
    ) -> None:
        self.settings: Mapping[str, str] = place.settings
        self.agents: set[str] = set()
        self._place = place
        self._environment = dict(environment)
        self._processes = of_run(place.directory)
        self._on_event = on_event
        self._control = place.control
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

    async def init(self, template: bytes) -> None:
        """Prepare the directory of `template` with what earlier runs have fetched, and share it.

        Nothing of the template's own has run before it is shared.
        """
        plugins = PluginCache(self._environment, self._place.directory)
        modules = ModuleCache(self._control.modules, template)
        self.settings = await trio.to_thread.run_sync(plugins.lend, self._place.work)
        self._environment |= self.settings
        await trio.to_thread.run_sync(modules.lend, self._place.work)
        await self.stage("init", command.init_arguments())
        await trio.to_thread.run_sync(plugins.publish)
        await trio.to_thread.run_sync(modules.publish, self._place.work)

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

    async def show_plan(self, max_bytes: int = MAX_PLAN_BYTES) -> bytes:
        """The plan that the last stage wrote, as JSON with secrets in clear; b"" if it is long."""
        code, document = await self._print(command.show_arguments(), max_bytes)
        if code != 0:
            self._raise_if_canceled("show")
            raise TerraformFailedError("show", [], _ended("show", code, self._last_words))
        return document

    async def validate(self) -> list[TerraformDiagnostic]:
        """Run `validate`, which prints one document, not events."""
        code, document = await self._print(command.validate_arguments(), MAX_VALIDATION_BYTES)
        found = parse_validation(document)
        if found is None or (code != 0 and not found):
            self._raise_if_canceled("validate")
            raise TerraformFailedError("validate", [], _ended("validate", code, self._last_words))
        return found

    async def _print(self, arguments: tuple[str, ...], max_bytes: int) -> tuple[int, bytes]:
        """The exit code of a command, and what it printed up to `max_bytes`."""
        document = bytearray()

        async def collect(line: bytes) -> None:
            await trio.lowlevel.checkpoint()
            if len(document) + len(line) < max_bytes:
                document.extend(line + b"\n")

        return await self._run(arguments, collect), bytes(document)

    async def _run(
        self, arguments: tuple[str, ...], on_line: Callable[[bytes], Awaitable[None]]
    ) -> int:
        self._raise_if_canceled(arguments[0])
        self._last_words = ""
        code = None
        try:
            code = await self._run_until_quiet(arguments, on_line)
        finally:
            # A run that ends normally may leave programs running on purpose, until the workspace
            # stops. Here a provisioner was interrupted, and nobody expects its programs to go on.
            if code is None or code < 0 or self._control.interrupt.asked.is_set():
                with trio.CancelScope(shield=True):
                    await end_processes(self._processes, grace_s=CUT_GRACE_S)
        return code

    async def _run_until_quiet(
        self, arguments: tuple[str, ...], on_line: Callable[[bytes], Awaitable[None]]
    ) -> int:
        place = self._place
        made = command.TerraformCommand(
            argv=(*place.binary.argv, *arguments),
            environment=self._environment,
            directory=place.work,
        )
        if self._control.sandbox is not None:
            if self._view is None:
                is_foreign = not place.work.is_relative_to(place.directory)
                shown = [place.work.parent] if is_foreign else []
                self._view = await self._control.sandbox.look(shown)
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
        if isinstance(event, DiagnosticFound):
            event = DiagnosticFound(self._placed(event.diagnostic))
        if not isinstance(event, StillWorking):
            self._wait_on()
        self._progress = self._progress.after(event)
        if not self._patience.cancel_called:
            self._busy_with = self._progress.running
        match event:
            case OutputsFound(outputs):
                self._outputs = outputs
            case ResourceRefreshed(address, _) | ResourcePlanned(address, _) if is_agent(address):
                self.agents.add(address)
            case DiagnosticFound(diagnostic) if len(self._diagnostics) < MAX_DIAGNOSTICS:
                self._diagnostics.append(diagnostic)
        await self._on_event(event)

    def _placed(self, diagnostic: TerraformDiagnostic) -> TerraformDiagnostic:
        """A diagnostic of the file of values, which nobody knows: it names the variable instead."""
        if Path(diagnostic.file).name != command.VALUES_FILE:
            return diagnostic
        name = name_at(self._place.variables, diagnostic.line)
        return replace(diagnostic, file="", line=0, address=f"variable {name}".strip())

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
