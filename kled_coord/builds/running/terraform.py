"""Runs builds with Terraform: adapts `kled_coord.terraform` to the worker's interface."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final

import structlog
import trio

from kled_coord.builds.host import BuildHost, PreviewHost
from kled_coord.builds.job import Job, Reporter
from kled_coord.builds.runner import CheckedTemplate, Inquiry, PlanInquiry, TemplateForm
from kled_coord.builds.running.advice import advise
from kled_coord.builds.running.evaluation_host import EvaluationHost
from kled_coord.builds.running.leftovers import WORKSPACE_MARK
from kled_coord.bundles.store import BundleStore
from kled_coord.sandbox.choice import SandboxChoice
from kled_coord.terraform.checking import CheckInput, CheckOutput, check_template
from kled_coord.terraform.evaluator import EvaluationInput, Evaluator
from kled_coord.terraform.output.changes import PlannedChanges
from kled_coord.terraform.output.errors import TemplateInvalidError, TerraformMissingError
from kled_coord.terraform.output.events import (
    Event,
    OutputsFound,
    StageBegan,
    TerraformProgress,
    format_diagnostic,
)
from kled_coord.terraform.output.log_lines import event_lines, shown_outputs
from kled_coord.terraform.output.timings import BEGUN
from kled_coord.terraform.plugincache import CACHE, find_shared
from kled_coord.terraform.previewing import PreviewInput, preview_build
from kled_coord.terraform.process.binary import Binary, find_binary
from kled_coord.terraform.process.cliconfig import read_cli_config
from kled_coord.terraform.process.command import Backend
from kled_coord.terraform.process.envfile import load_environment
from kled_coord.terraform.process.leftovers import LeftoversError, end_processes
from kled_coord.terraform.process.runner import Interrupt, StopLimits
from kled_coord.terraform.providers import TerraformProvider, load_providers
from kled_coord.terraform.run import BuildInput, run_build
from kled_coord.terraform.session import Control, of_run
from kled_coord.terraform.source.archive import uses_init_script
from kled_coord.terraform.source.variables import sensitive_defaults
from kled_wire.errors import ConfigError
from kled_wire.trees import discard_tree

# Below the data directory: plans and checks while they run, and templates ready for evaluation.
_PREVIEWS: Final = "previews"
_EVALUATIONS: Final = "asking"
# A check has no state to save, and whoever wants it ended wants its place for the next.
_CHECK_LIMITS: Final = StopLimits(interrupt_s=1, save_s=0)

log = structlog.get_logger(__name__)


async def remove_previews(data_dir: Path) -> None:
    """End the plans of a coordinator that was killed, and remove what they had.

    Their directories hold copies of states and the values of variables. Once, before the first
    plan of this process, which has the data directory for itself.
    """
    for directory in (data_dir / _PREVIEWS, data_dir / _EVALUATIONS):
        for path in sorted(directory.glob("*")):
            try:
                await end_processes(of_run(path), grace_s=0)
            except LeftoversError as error:
                log.error("plan_not_ended", directory=str(path), reason=error.message)
        await trio.to_thread.run_sync(discard_tree, directory)


class Terraform:
    """Terraform on this machine. Binary and providers are looked for at the first use, then kept.

    Below `data_dir` it keeps what later runs need not fetch again. A build without progress for
    `quiet_s` (0: no limit), or what its job says, is stopped, in which
    Terraform may take `stop_s`.
    """

    def __init__(
        self,
        *,
        environment: Mapping[str, str],
        path: Path | None,
        env_file: Path | None,
        quiet_s: float,
        stop_s: float,
        sandbox: SandboxChoice,
        data_dir: Path,
        bundles: BundleStore,
    ) -> None:
        self._environment = environment
        self._path = path
        self._env_file = env_file
        self._quiet_s = quiet_s
        self._limits = StopLimits(interrupt_s=stop_s)
        self._sandbox = sandbox
        self._plugins = data_dir / "plugins"
        self._modules = data_dir / "modules"
        self._previews = data_dir / _PREVIEWS
        self._bundles = bundles
        self._evaluator = Evaluator(data_dir / _EVALUATIONS)
        self._binary: Binary | None = None
        self._providers: Sequence[TerraformProvider] | None = None

    async def check(self, inquiry: Inquiry) -> CheckedTemplate:
        """Let Terraform check a template. Raises InputError("template_invalid"), KledError.

        What a parameter without a value makes fail says nothing of the template: then it is not
        planned.
        """
        fetched = await self._fetched(inquiry.template)
        host = EvaluationHost(inquiry.workspace, inquiry.names, fetched)
        is_planned = inquiry.is_planned
        try:
            found = await self._check(inquiry, host, is_planned=is_planned)
        except TemplateInvalidError:
            if not host.is_missing_a_value():
                raise
            is_planned = False
            found = await self._check(inquiry, host, is_planned=is_planned)
        changes = tuple((change.address, change.action) for change in found.changes)
        form = host.answer()
        secrets = [value.text for value in inquiry.variables.values() if value.is_secret]
        secrets += await trio.to_thread.run_sync(sensitive_defaults, inquiry.template)
        return CheckedTemplate(
            answer=_known(form, found) if is_planned or not found.has_parameters else None,
            changes=changes if is_planned else None,
            warnings=(
                *(format_diagnostic(warning) for warning in found.warnings),
                *advise(
                    form,
                    given=inquiry.workspace["parameters"],
                    secrets=secrets,
                    left=[address for address, action in changes if action == "read"],
                ),
            ),
        )

    async def _fetched(self, template: bytes) -> Collection[str] | None:
        """For which architectures an agent can be fetched, where the template lets one do so."""

        def look() -> Collection[str] | None:
            return self._bundles.newest().keys() if uses_init_script(template) else None

        return await trio.to_thread.run_sync(look)

    async def _check(
        self, inquiry: Inquiry, host: EvaluationHost, *, is_planned: bool
    ) -> CheckOutput:
        directory = await trio.to_thread.run_sync(self._preview_directory)
        try:
            return await check_template(
                CheckInput(
                    template=inquiry.template,
                    variables=inquiry.variables,
                    is_planned=is_planned,
                ),
                binary=await self._find(),
                providers=self._load(),
                directory=directory,
                host=host,
                control=await self._control(Control(limits=_CHECK_LIMITS)),
            )
        finally:
            discard_tree(directory)

    async def ask(self, inquiry: Inquiry) -> TemplateForm:
        """Let a template tell its parameters. Raises InputError("template_invalid"), KledError."""
        host = EvaluationHost(inquiry.workspace, inquiry.names)
        await self._evaluator.evaluate(
            EvaluationInput(template=inquiry.template, host=host, variables=inquiry.variables),
            binary=await self._find(),
            providers=self._load(),
            control=await self._control(Control(limits=_CHECK_LIMITS)),
        )
        return host.answer()

    async def plan(self, inquiry: PlanInquiry, host: PreviewHost) -> PlannedChanges:
        """Plan from a copy of a state. Raises KledError with Terraform's words."""
        directory = await trio.to_thread.run_sync(self._preview_directory)
        try:
            return await preview_build(
                PreviewInput(
                    template=inquiry.template,
                    state=inquiry.state,
                    variables=inquiry.variables,
                    destroy=inquiry.destroy,
                    refresh_only=inquiry.refresh_only,
                ),
                binary=await self._find(),
                providers=self._load(),
                host=host,
                directory=directory,
                control=await self._control(Control(limits=_CHECK_LIMITS)),
            )
        finally:
            discard_tree(directory)

    def _preview_directory(self) -> Path:
        self._previews.mkdir(mode=0o700, parents=True, exist_ok=True)
        return Path(tempfile.mkdtemp(dir=self._previews))

    async def run(self, job: Job, host: BuildHost, reporter: Reporter) -> None:
        """Carry a build out. Raises KledError with Terraform's words."""
        build = BuildInput(
            template=job.archive,
            transition=job.build.transition,
            backend=Backend(
                address=job.state_url,
                lock_address=job.state_url,
                username=job.build.id,
                password=job.state_secret,
            ),
            variables=job.variables,
            marks={WORKSPACE_MARK: job.workspace.id},
        )
        translator = Translator(reporter, job.began)
        with translator.timed():
            await run_build(
                build,
                binary=await self._find(),
                providers=self._load(),
                host=host,
                directory=job.directory,
                on_event=translator.translate,
                control=await self._control(
                    Control(
                        interrupt=Interrupt(forced=job.forced),
                        limits=self._limits,
                        quiet_s=(self._quiet_s if job.quiet_s is None else job.quiet_s) or math.inf,
                    )
                ),
            )

    async def _control(self, control: Control) -> Control:
        """The same, with what every Terraform of this coordinator is started with."""
        given: Mapping[str, str] = {}
        if self._env_file is not None:
            given = await trio.to_thread.run_sync(load_environment, self._env_file)
        choice = await self._sandbox.make()
        inherited = dict(self._environment)
        if await trio.to_thread.run_sync(find_shared, {**inherited, **given}) is None:
            inherited[CACHE] = str(self._plugins)
        return replace(
            control,
            inherited=inherited,
            given=given,
            sandbox=choice.sandbox,
            modules=self._modules,
        )

    def _load(self) -> Sequence[TerraformProvider]:
        """The providers that are installed; to look for them takes 20 ms.

        Raises ConfigError.
        """
        if self._providers is None:
            self._providers = load_providers()
        return self._providers

    async def _find(self) -> Binary:
        if self._binary is None:
            path = None if self._path is None else str(self._path)
            self._binary = await find_binary(self._environment, path)
        return self._binary


def _known(answer: TemplateForm, found: CheckOutput) -> TemplateForm | None:
    """The parameters of a start with the defaults; None where only an evaluation tells them.

    One that depends on another's value may be none of these.
    """
    return answer if answer.parameters or not found.has_parameters else None


async def check_path(path: Path | None, environment: Mapping[str, str]) -> None:
    """Raise ConfigError unless the setting terraform_path names a Terraform that runs, or none.

    Also where the environment names a configuration of Terraform's that cannot be read.
    """
    await trio.to_thread.run_sync(read_cli_config, environment)
    if path is None:
        return
    try:
        await find_binary(environment, str(path))
    except TerraformMissingError as error:
        raise ConfigError("terraform_path_unusable", f"terraform_path: {error.message}") from error


class Translator:
    """Turns Terraform's events into log lines, progress and timings since `began`."""

    def __init__(self, reporter: Reporter, began: float) -> None:
        self._reporter = reporter
        self._began = began
        self._timings = BEGUN
        self._progress = TerraformProgress()
        self._stage = ""

    async def translate(self, event: Event) -> None:
        """Report one event."""
        before = (self._progress.done, self._progress.total, self._stage)
        self._progress = self._progress.after(event)
        self._timings = self._timings.after(event, self._passed_s())
        match event:
            case StageBegan(stage):
                self._stage = stage
                self._reporter.timings(self._timings.plain())
            case OutputsFound(outputs) if self._stage == "apply":
                self._reporter.outputs(shown_outputs(outputs))
            case _:
                pass
        for level, text in event_lines(event, self._stage):
            await self._reporter.line(level, text)
        after = (self._progress.done, self._progress.total, self._stage)
        if after != before:
            await self._reporter.progress(*after)

    @contextmanager
    def timed(self) -> Iterator[None]:
        """Terraform runs in the block: at its end, what it was at has ended too."""
        failed = True
        try:
            yield
            failed = False
        finally:
            self._timings = self._timings.ended(self._passed_s(), failed=failed)
            self._reporter.timings(self._timings.plain())

    def _passed_s(self) -> float:
        return trio.current_time() - self._began
