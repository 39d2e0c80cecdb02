"""Carries builds out with Terraform: fits `kled_coord.terraform` to what a worker asks."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from kled_coord.builds.runner import Host, Job, Reporter
from kled_coord.terraform.binary import Binary, find_binary
from kled_coord.terraform.command import Backend
from kled_coord.terraform.events import (
    DiagnosticFound,
    Event,
    LogLine,
    Progress,
    StageBegan,
    format_diagnostic,
)
from kled_coord.terraform.run import BuildInput, Control, check_template, run_build
from kled_coord.terraform.runner import Interrupt

_LEVELS: Final = {"warn": "warning", "error": "error", "debug": "debug", "trace": "debug"}


class Terraform:
    """Terraform on this machine. The binary is looked for at the first use, then kept."""

    def __init__(self, *, environment: Mapping[str, str], path: Path | None) -> None:
        self._environment = environment
        self._path = path
        self._binary: Binary | None = None

    async def check(self, tar: bytes) -> None:
        """Let Terraform check a template. Raises InputError("template_invalid"), KledError."""
        binary = await self._find()
        with tempfile.TemporaryDirectory(prefix="kled-check-") as directory:
            await check_template(tar, binary=binary, directory=Path(directory))

    async def run(self, job: Job, host: Host, reporter: Reporter) -> None:
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
            variables=job.workspace.parameters,
        )
        await run_build(
            build,
            binary=await self._find(),
            host=host,
            directory=job.directory,
            on_event=Translator(reporter).translate,
            control=Control(
                interrupt=Interrupt(forced=job.forced), inherited=dict(self._environment)
            ),
        )

    async def _find(self) -> Binary:
        if self._binary is None:
            path = None if self._path is None else str(self._path)
            self._binary = await find_binary(self._environment, path)
        return self._binary


class Translator:
    """Turns Terraform's events into log lines and progress."""

    def __init__(self, reporter: Reporter) -> None:
        self._reporter = reporter
        self._progress = Progress()
        self._stage = ""

    async def translate(self, event: Event) -> None:
        """Report one event."""
        before = (self._progress.done, self._progress.total, self._stage)
        self._progress = self._progress.after(event)
        match event:
            case StageBegan(stage):
                self._stage = stage
            case LogLine(level, text) if text:
                await self._reporter.line(_LEVELS.get(level, "info"), text)
            case DiagnosticFound(diagnostic):
                level = "error" if diagnostic.severity == "error" else "warning"
                for line in format_diagnostic(diagnostic).splitlines():
                    await self._reporter.line(level, line)
            case _:
                pass
        after = (self._progress.done, self._progress.total, self._stage)
        if after != before:
            await self._reporter.progress(*after)
