"""A Terraform that builds as the test says."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import trio

from kled_coord.builds.host import BuildHost, PreviewHost
from kled_coord.builds.job import Job, Reporter
from kled_coord.builds.runner import CheckedTemplate, Inquiry, PlanInquiry, TemplateForm
from kled_coord.terraform.output.changes import PlannedChanges
from kled_wire.errors import InputError


@dataclass
class FakeTerraform:
    """RunDirectories builds as the test says; remembers what it was given."""

    jobs: list[Job] = field(default_factory=list)
    hosts: list[BuildHost] = field(default_factory=list)
    says: list[str] = field(default_factory=list)
    error: Exception | None = None
    agent: bool = True
    outputs: dict[str, Any] | None = None
    plans: list[tuple[PlanInquiry, Mapping[str, Any]]] = field(default_factory=list)
    planned: PlannedChanges = field(default_factory=partial(PlannedChanges, changes=(), drift=()))
    timings: list[dict[str, Any]] = field(default_factory=list)
    hang: bool = False
    # Does not stop before it is forced to.
    stubborn: bool = False
    stopping: trio.Event = field(default_factory=trio.Event)
    errored_state: bytes | None = None
    checking: int = 0
    inquiries: list[Inquiry] = field(default_factory=list)
    answer: Callable[[Inquiry], TemplateForm] = lambda _inquiry: TemplateForm()
    check_ended: trio.Event = field(default_factory=trio.Event)
    started: trio.Event = field(default_factory=trio.Event)
    while_it_runs: Callable[[], Awaitable[None]] | None = None
    reporter: Reporter = field(init=False)

    async def run(self, job: Job, host: BuildHost, reporter: Reporter) -> None:
        self.jobs.append(job)
        self.hosts.append(host)
        self.reporter = reporter
        self.started.set()
        if self.while_it_runs is not None:
            await self.while_it_runs()
        await reporter.line("info", f"{job.build.transition} began")
        for line in self.says:
            await reporter.line("info", line)
        reporter.timings(self.timings)
        await reporter.progress(0, 1, "apply")
        if self.errored_state is not None:
            (job.directory / "template" / ".terraform").mkdir(parents=True)
            (job.directory / "kled.tfvars").write_text("secret")
            (job.directory / "template" / ".terraform" / "x").symlink_to("/etc/passwd")
            (job.directory / "template" / "errored.tfstate").write_bytes(self.errored_state)
        if self.agent:
            await host.ensure_agent("main", "")
        if self.hang:
            await self._hang(job)
        if self.error is not None:
            raise self.error
        if self.outputs is not None:
            reporter.outputs(self.outputs)
        await reporter.progress(1, 1, "apply")
        await reporter.line("info", "done")

    async def _hang(self, job: Job) -> None:
        try:
            await trio.sleep_forever()
        finally:
            self.stopping.set()
            if self.stubborn:
                with trio.CancelScope(shield=True):
                    await job.forced.wait()

    async def check(self, inquiry: Inquiry) -> CheckedTemplate:
        self.checking += 1
        try:
            self.inquiries.append(inquiry)
            await self._check(inquiry.template)
        finally:
            self.checking -= 1
            self.check_ended.set()
        return CheckedTemplate(answer=self.answer(inquiry), changes=())

    async def ask(self, inquiry: Inquiry) -> TemplateForm:
        self.inquiries.append(inquiry)
        return self.answer(inquiry)

    async def plan(self, inquiry: PlanInquiry, host: PreviewHost) -> PlannedChanges:
        self.plans.append((inquiry, await host.workspace()))
        return self.planned

    async def _check(self, tar: bytes) -> None:
        if b"HANGING INIT" in tar:
            self.started.set()
            await trio.sleep_forever()
        if b"SYNTAX ERROR" in tar:
            raise InputError("template_invalid", "main.tf line 1: Invalid block definition")
