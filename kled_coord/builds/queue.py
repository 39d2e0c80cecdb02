"""The queue in the database: claim, lease, release. Two workers never run the same build."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Final

import structlog

from kled_coord.builds.leases import LeaseWatch
from kled_coord.builds.transitions import ENDED, BuildEvent, BuildStatus, next_status
from kled_coord.changes import QUEUE, Changes, cancel_key
from kled_coord.identity.secrets import hash_secret
from kled_coord.metrics import Metrics
from kled_coord.sources import Clock, Ids, Monotonic
from kled_coord.store.build_changes import BuildChange, change_build, claim_build
from kled_coord.store.builds import RenewedLease, renew_lease, running_builds
from kled_coord.store.engine import Store
from kled_coord.store.records import Build
from kled_coord.workspaces.lifecycle import Transition, workspace_status
from kled_coord.workspaces.presence import Registry
from kled_wire.errors import ConflictError, NotFoundError
from kled_wire.names import AgentId, BuildId
from kled_wire.text import printable

RENEW_S: Final = 10.0
_ERROR_MAX: Final = 4000

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimedBuild:
    """A build this worker has to itself; `secret` opens the state backend while it runs."""

    build: Build
    secret: str


@dataclass(slots=True, kw_only=True)
class Queue:
    """Gives builds to workers and takes back how they ended."""

    store: Store
    clock: Clock
    monotonic: Monotonic
    ids: Ids
    changes: Changes
    registry: Registry
    metrics: Metrics
    _leases: LeaseWatch = field(init=False, default_factory=LeaseWatch)

    async def claim(self, worker: str) -> ClaimedBuild | None:
        """Take the pending build whose turn it is, if any. Raises StoreError."""
        secret = self.ids.secret()
        now = self.clock()

        def decide(build: Build, _before: Build | None) -> BuildChange:
            status = next_status(build.status, BuildEvent.CLAIMED)
            return BuildChange(
                values={
                    "status": status,
                    "worker": worker,
                    "secret_hash": hash_secret(secret),
                    "lease": build.lease + 1,
                    "started_at": now,
                },
                workspace_status=workspace_status(build.transition, status),
            )

        build = await self.store.write(claim_build, decide, now)
        if build is None:
            return None
        self.changes.notify(build.id)
        return ClaimedBuild(build=build, secret=secret)

    async def renew(self, build_id: BuildId, worker: str) -> RenewedLease | None:
        """Keep a claimed build; None when it is lost to this worker."""
        return await self.store.write(renew_lease, build_id, worker)

    async def end(
        self,
        build_id: BuildId,
        event: BuildEvent,
        *,
        worker: str | None,
        error: str | None = None,
        outputs: Mapping[str, Any] | None = None,
        timings: Sequence[Mapping[str, Any]] | None = None,
        force: bool = False,
    ) -> Build:
        """Write what happened to a build, and everything that follows from it.

        `worker` None: asked from outside (cancel, an expired lease). `outputs` are the template's
        from now on; None leaves those that are kept, and so do `timings`. `force` leaves its
        Terraform no time. Raises NotFoundError, ConflictError("build_not_active") also when another
        worker has it.
        """
        now = self.clock()

        def decide(build: Build, before: Build | None) -> BuildChange:
            if worker is not None and build.worker != worker:
                raise ConflictError("build_not_active", "another worker runs this build")
            change = replace(_decide_end(build, before, event, error, now), outputs=outputs)
            measured = {} if timings is None else {"timings": timings}
            values = {**change.values, **measured, "forced": build.forced or force}
            return replace(change, values=values)

        changed = await self.store.write(change_build, build_id, decide, now)
        if changed is None:
            raise NotFoundError("build_not_found", f"there is no build {build_id}")
        for agent_id in changed.revoked_agents:
            self.registry.drop(AgentId(agent_id), "the workspace was deleted")
        self._ring(changed.build)
        if changed.queued is not None:
            self.changes.notify(QUEUE)
        return changed.build

    async def cancel(self, build_id: BuildId, *, force: bool) -> Build:
        """Ask a build to stop; `force` leaves its Terraform no time. Raises as `end` does."""
        return await self.end(build_id, BuildEvent.CANCEL_ASKED, worker=None, force=force)

    async def expire(self, is_dead: Callable[[str], bool] = lambda _worker: False) -> None:
        """Fail the builds whose worker stopped renewing its lease; called every few seconds.

        `is_dead` says of which workers, by name, it is known that they have ended.
        """
        running = {build.id: build for build in await self.store.read(running_builds)}
        leases = {build.id: (build.worker, build.lease) for build in running.values()}
        expired = self._leases.expired(leases, self.monotonic())
        known = [build.id for build in running.values() if is_dead(build.worker or "")]
        for build in map(running.__getitem__, dict.fromkeys([*known, *expired])):
            log.warning("build_lease_expired", build=build.id, worker=build.worker)
            await self.end(
                build.id,
                BuildEvent.FAILED,
                worker=build.worker,
                error="the worker that ran this build died; "
                "kled retry WORKSPACE goes on from the state that it saved",
            )

    def _ring(self, build: Build) -> None:
        self.changes.notify(build.id)
        if build.status == BuildStatus.CANCELING:
            self.changes.notify(cancel_key(build.id))
        if build.status == BuildStatus.PENDING:
            self.changes.notify(QUEUE)
        if build.status in ENDED:
            self.metrics.builds_total.labels(build.transition, build.status).inc()
            if build.started_at and build.finished_at:
                took = build.finished_at - build.started_at
                self.metrics.build_seconds.observe(took.total_seconds())


def _decide_end(
    build: Build, before: Build | None, event: BuildEvent, error: str | None, now: datetime
) -> BuildChange:
    """What one event does to a build that was queued."""
    status = next_status(build.status, event)
    values: dict[str, object] = {"status": status}
    if status in ENDED:
        values |= {
            "finished_at": now,
            "secret_hash": None,
            "error": printable(error[:_ERROR_MAX], keep="\n\t") if error else None,
        }
        if status is BuildStatus.SUCCEEDED:  # else it may be retried
            values |= {"secrets_sealed": None, "then_secrets_sealed": None}
    elif event is BuildEvent.RELEASED:
        values |= {"worker": None, "secret_hash": None, "started_at": None}
    never_ran = build.status == BuildStatus.PENDING and status is BuildStatus.CANCELED
    told_by = before if never_ran and before else build
    return BuildChange(
        values=values,
        workspace_status=workspace_status(
            told_by.transition, told_by.status if told_by is before else status
        ),
        run_over=status in ENDED or event is BuildEvent.RELEASED,
        applied=status is BuildStatus.SUCCEEDED and build.transition != Transition.DELETE,
        # A person who cancelled a stop, even one that then succeeded, does not want the start that
        # follows.
        goes_on=status is BuildStatus.SUCCEEDED and build.status == BuildStatus.RUNNING,
    )
