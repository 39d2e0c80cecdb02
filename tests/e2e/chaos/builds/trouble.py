"""What is done to builds; each is undone at its block's end."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator

import httpx
import psutil

from tests.e2e.chaos.builds.load import Api
from tests.e2e.chaos.builds.world import BuildWorld
from tests.e2e.chaos.plan import Trouble
from tests.kit.processes import environment_of

# So long a Terraform is waited for that can be killed. Seconds.
_LOOK_S = 5.0
# A stop in good order ends Terraform first (`build_stop_s`), and a start may have to wait for what
# else is away. Seconds.
_STOP_S, _SERVE_S = 60.0, 90.0


class BuildTroublemaker:
    """Does to a world what a plan says."""

    def __init__(self, world: BuildWorld, api: Api) -> None:
        self._world = world
        self._site = world.site
        self._api = api
        self.met = 0

    @contextlib.contextmanager
    def inflict(self, trouble: Trouble) -> Iterator[None]:
        """The trouble lasts as long as the block; what ends at once is done when it begins."""
        with getattr(self, f"_{trouble.kind.replace('-', '_')}")(trouble.pick):
            yield

    @contextlib.contextmanager
    def _kill_terraform(self, pick: float) -> Iterator[None]:
        deadline = time.monotonic() + _LOOK_S
        while not (found := self._terraforms()) and time.monotonic() < deadline:
            time.sleep(0.05)
        for process, build in sorted(found.items(), key=lambda item: item[1])[
            int(pick * len(found)) :
        ][:1]:
            self._world.killed.add(build)
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
                self.met += 1
        yield

    def _terraforms(self) -> dict[psutil.Process, str]:
        """Those that apply or destroy something, and their builds."""
        found = {}
        for process in psutil.process_iter(["cmdline"]):
            words = process.info["cmdline"] or []
            if len(words) > 1 and words[1] in {"apply", "destroy"}:
                run = environment_of(process).get("KLED_RUN", "")
                if run.startswith(str(self._world.runs)):
                    found[process] = os.path.basename(run).partition(".")[0]  # noqa: PTH119
        return found

    @contextlib.contextmanager
    def _kill_coordinator(self, pick: float) -> Iterator[None]:
        with self._stopped(signal.SIGKILL):
            yield

    @contextlib.contextmanager
    def _restart_coordinator(self, pick: float) -> Iterator[None]:
        with self._stopped(signal.SIGTERM):
            yield

    @contextlib.contextmanager
    def _stop_coordinator_at_once(self, pick: float) -> Iterator[None]:
        """Asked twice, as by a person who does not want to wait."""
        assert self._site.coordinator is not None
        self._site.coordinator.send_signal(signal.SIGTERM)
        with self._stopped(signal.SIGTERM):
            yield

    @contextlib.contextmanager
    def _stopped(self, how: signal.Signals) -> Iterator[None]:
        self._site.stop_serving(how, within_s=_STOP_S)
        try:
            yield
        finally:
            self._serve()

    def _serve(self) -> None:
        """As systemd does: once more where it ends at once, since the database is away perhaps."""
        deadline = time.monotonic() + _SERVE_S
        while True:
            try:
                self._site.serve()
                return
            except AssertionError:
                if time.monotonic() > deadline:
                    raise
                self._site.stop_serving(signal.SIGKILL)

    @contextlib.contextmanager
    def _freeze_coordinator(self, pick: float) -> Iterator[None]:
        """For longer than its workers' leases last, perhaps."""
        assert self._site.coordinator is not None
        self._site.coordinator.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._site.coordinator.send_signal(signal.SIGCONT)

    @contextlib.contextmanager
    def _database_away(self, pick: float) -> Iterator[None]:
        with self._world.database_away():
            yield

    @contextlib.contextmanager
    def _disk_full(self, pick: float) -> Iterator[None]:
        with self._world.full_disk():
            yield

    @contextlib.contextmanager
    def _cancel(self, pick: float) -> Iterator[None]:
        self._cancel_one(pick, force=False)
        yield

    @contextlib.contextmanager
    def _cancel_by_force(self, pick: float) -> Iterator[None]:
        self._cancel_one(pick, force=True)
        yield

    def _cancel_one(self, pick: float, *, force: bool) -> None:
        with contextlib.suppress(httpx.HTTPError):
            answer = self._api.get("/workspaces")
            found = [
                build["id"]
                for workspace in (answer.json() if answer.is_success else ())
                if (build := workspace["latest_build"])["status"] in {"pending", "running"}
            ]
            for build_id in found[int(pick * len(found)) :][:1]:
                if force:
                    self._world.killed.add(build_id)
                answer = self._api.post(f"/builds/{build_id}/cancel?force={str(force).lower()}")
                self.met += answer.is_success
