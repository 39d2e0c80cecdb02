"""A worker: takes builds from the queue one at a time, and runs each to its end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Final

import structlog
import trio

from kled_coord.builds.job import Job, Reporter
from kled_coord.builds.logs import LogWriter, MaskedReporter
from kled_coord.builds.queue import ClaimedBuild, Queue
from kled_coord.builds.runner import BuildRunner
from kled_coord.builds.running.jobs import Jobs
from kled_coord.builds.running.lease import Lease
from kled_coord.builds.running.leftovers import end_leftovers
from kled_coord.builds.running.runs import RunDirectories, RunDirectory
from kled_coord.builds.transitions import BuildEvent
from kled_coord.changes import QUEUE, Changes, state_key
from kled_coord.sources import Clock
from kled_coord.store.engine import Store
from kled_coord.store.errors import StoreError
from kled_coord.store.records import Build
from kled_coord.terraform.output.errors import RunDirectoryError
from kled_wire.errors import ConflictError, KledError
from kled_wire.limits import CLEANUP_S

# A build that another process queues notifies nobody here.
_LOOK_AGAIN_S: Final = 5.0
# Saving a state that Terraform could not save; shorter than what is left of the lease (queue.py).
_RESCUE_S: Final = 15.0

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOutcome:
    """How a run ended."""

    event: BuildEvent
    error: str | None = None
    outputs: Mapping[str, Any] | None = None
    timings: Sequence[Mapping[str, Any]] | None = None


@dataclass(slots=True, kw_only=True)
class Worker:
    """Runs builds until cancelled; a build in progress is then released for another worker.

    `name` is unique among all workers of one database.
    """

    store: Store
    clock: Clock
    queue: Queue
    changes: Changes
    runner: BuildRunner
    runs: RunDirectories
    jobs: Jobs
    name: str
    _lease: Lease | None = field(init=False, default=None)

    async def serve(self, draining: trio.Event) -> None:
        """Take builds as they come until `draining`. A failing database is waited out."""
        while not draining.is_set():
            queued = self.changes.next_change(QUEUE)
            try:
                claimed = await self.queue.claim(self.name)
                if claimed is not None:
                    await self._run(claimed)
                    continue
            except StoreError as error:
                log.warning("worker_store_failed", worker=self.name, reason=error.message)
            with trio.move_on_after(_LOOK_AGAIN_S):
                await queued.wait()

    def force(self) -> None:
        """If a build is running, do not wait long for its clean stop."""
        if self._lease is not None:
            self._lease.forced.set()

    async def _run(self, claimed: ClaimedBuild) -> None:
        """Run one build and write how it ended, also when this worker is cancelled."""
        build = claimed.build
        log.info("build_started", build=build.id, transition=build.transition)
        outcome = RunOutcome(event=BuildEvent.RELEASED)
        run = RunDirectory(self.runs, build)
        try:
            outcome = await self._carry_out(claimed, run)
        finally:
            # While the build is still ours, so that nobody works on the state yet.
            with trio.move_on_after(_RESCUE_S, shield=True):
                await run.close()
            with trio.move_on_after(CLEANUP_S, shield=True):
                await self._write_end(build, outcome)

    async def _write_end(self, build: Build, outcome: RunOutcome) -> None:
        try:
            ended = await self.queue.end(
                build.id,
                outcome.event,
                worker=self.name,
                error=outcome.error,
                outputs=outcome.outputs,
                timings=outcome.timings,
            )
        except (ConflictError, StoreError) as error:
            # Somebody else ended it, or the expiry of its lease will.
            log.warning("build_end_lost", build=build.id, reason=error.message)
        else:
            log.info("build_ended", build=build.id, status=ended.status, error=ended.error)
            await self.jobs.tell_agents(build)

    async def _carry_out(self, claimed: ClaimedBuild, run: RunDirectory) -> RunOutcome:
        writer = LogWriter(
            store=self.store, clock=self.clock, changes=self.changes, build_id=claimed.build.id
        )
        lease = Lease(
            queue=self.queue,
            changes=self.changes,
            build_id=claimed.build.id,
            worker=self.name,
        )
        self._lease = lease
        outcome = RunOutcome(event=BuildEvent.CANCELED, error="canceled")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(writer.run)
            await nursery.start(lease.hold)
            try:
                with lease.run_scope:
                    outcome = await self._attempt(claimed, run, writer, lease.forced)
                if lease.lost:
                    outcome = RunOutcome(event=BuildEvent.FAILED, error="the lease was lost")
            finally:
                writer.close()
                lease.release()
        return replace(outcome, timings=writer.found_timings)

    async def _attempt(
        self, claimed: ClaimedBuild, run: RunDirectory, writer: LogWriter, forced: trio.Event
    ) -> RunOutcome:
        """Run the build; whatever goes wrong in it is an outcome, not the worker's end."""
        build = claimed.build
        reporter: MaskedReporter | None = None
        try:
            await self.runs.rescue_of(build.workspace_id)
            job = await self.jobs.make(claimed, directory=await run.directory(), forced=forced)
            reporter = MaskedReporter(
                writer,
                next_state=partial(self.changes.next_change, state_key(job.workspace.id)),
                read=partial(self.jobs.secrets, job),
            )
            await reporter.refresh()
            await self._run_job(job, reporter)
        except KledError as error:
            line = error.line() if reporter is None else await reporter.hide(error.line())
            return RunOutcome(event=BuildEvent.FAILED, error=line)
        except OSError as error:
            log.warning("build_disk_failed", build=build.id, reason=str(error))
            return RunOutcome(event=BuildEvent.FAILED, error=RunDirectoryError(error).line())
        except Exception:
            log.exception("build_crashed", build=build.id)
            error_line = f"an error inside the coordinator; its log has build {build.id}"
            return RunOutcome(event=BuildEvent.FAILED, error=error_line)
        return RunOutcome(event=BuildEvent.SUCCEEDED, outputs=writer.found_outputs)

    async def _run_job(self, job: Job, reporter: Reporter) -> None:
        host = self.jobs.host(job, reporter)
        await self.jobs.shut_down(job, reporter)
        if job.build.orphan:
            await reporter.line("warning", "deleted without destroying what Terraform made")
        elif job.is_empty:
            await reporter.line("info", "Terraform has nothing to destroy")
        else:
            await self.runner(job, host, reporter)
            await self.jobs.keep_applied(job, reporter)
        if job.build.transition != "start":
            await end_leftovers(job.workspace.id, host, reporter)
        if job.build.transition == "delete":
            await self.jobs.clear(job)
