"""The scripts service of this agent: starts due scripts, and knows the state of each run."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import datetime
from typing import Final, Never

import trio

from kled_agent.scripts.metadata import MetadataScripts
from kled_agent.scripts.reporting import ScriptReporter
from kled_agent.scripts.running import Runner
from kled_agent.scripts.runs import Runs
from kled_agent.scripts.schedule import Due, Schedule, Stage
from kled_wire.control import messages
from kled_wire.control.agent_spec import AgentSpec
from kled_wire.control.link import ControlLink
from kled_wire.eventlog import EventLog

# The clock on the wall may be set while we wait for it.
_LOOK_AGAIN_S: Final = 60.0


class Scripts:
    """Runs scripts from `serve` on, each in a task of its own. `clock` gives the local time."""

    def __init__(
        self,
        runner: Runner,
        log: EventLog,
        *,
        new_id: Callable[[], str],
        clock: Callable[[], datetime],
    ) -> None:
        self._runner = runner
        self._metadata = MetadataScripts(runner)
        self._log = log
        self._clock = clock
        self._schedule = Schedule()
        self._runs = Runs(new_id)
        self._changed = trio.Event()
        self._spec: AgentSpec | None = None
        self._reporter: ScriptReporter | None = None
        self._stop_by = math.inf
        # Whether the coordinator is to say what the template says when a build has ended.
        self.spec_follows = False

    def set_spec(self, spec: AgentSpec) -> None:
        """Go by what the coordinator says; what has run already is not run again."""
        if self._spec is None or self._spec.build_id != spec.build_id:
            self._runs.stopped = False
        self._spec, self._runs.build_id = spec, spec.build_id
        known = {script.id for script in spec.scripts}
        self._runs.keep(lambda run: run.due.script.id in known or run.ending is None)
        for due in self._schedule.set_spec(spec, self._clock()):
            self._runs.add(due)
        if self._schedule.problem:
            self._log.warning("cron_malformed", reason=self._schedule.problem)
        self._metadata.set_items(spec.metadata)
        self._runs.notify()
        self._wake()

    def motd_file(self) -> str:
        """The file that each new terminal shows; "" is none."""
        return "" if self._spec is None else self._spec.motd_file

    def waits_for(self) -> tuple[str, ...]:
        """What logins have to wait for, by name: scripts of the start, or the build before them."""
        if self._spec is None:
            return ("the build",) if self.spec_follows else ()
        waiting = {r.due.script.id for r in self._runs if r.stage_open(Stage.START)}
        return tuple(s.name for s in self._spec.scripts if s.blocks_login and s.id in waiting)

    def failed(self) -> tuple[str, ...]:
        """The scripts of the start that did not succeed, each with how."""
        ended = [r for r in self._runs if r.due.stage is Stage.START and r.ending is not None]
        return tuple(r.how() for r in ended if r.state != "succeeded")

    def next_news(self) -> trio.Event:
        """Set when any of this may have changed; take it before looking."""
        return self._runs.next_news()

    def stop(self, within_s: float) -> None:
        """The workspace stops: run the scripts for that, ended after `within_s` at the latest."""
        self._stop_by = trio.current_time() + within_s
        for due in self._schedule.begin_stop():
            self._runs.add(due)
        self._runs.stopped = self._schedule.stopped
        self._runs.notify()
        self._wake()

    async def shut_down(self) -> None:
        """Run what a stop runs, each within its time; nothing where the coordinator has had it run.

        Cancelled, it leaves what runs to the end of `serve`.
        """
        if self._spec is None or self._runs.stopped:
            return
        if not any(run.due.stage is Stage.STOP for run in self._runs):
            self.stop(self._spec.shutdown_s)
        while not self._runs.stopped:
            news = self._runs.next_news()
            await news.wait()

    async def tell(self, link: ControlLink) -> Never:
        """Tell the coordinator over this link until cancelled. Raises LinkClosed."""
        self._reporter = ScriptReporter(self._runs, link)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._metadata.tell, link)
            await self._reporter.serve()

    def output_kept(self, message: messages.OutputKept) -> None:
        """The coordinator has kept a piece of output."""
        if self._reporter is not None:
            self._reporter.answered(message)

    async def serve(self) -> Never:
        """Run what is due until cancelled, which ends what runs."""
        if problem := await self._runner.install():
            self._log.warning("script_directory_unusable", reason=problem)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._metadata.serve)
            while True:
                changed = self._changed
                for due in self._schedule.due(self._clock()):
                    nursery.start_soon(self._run, due, nursery)
                with trio.move_on_after(self._wait_s()):
                    await changed.wait()

    def _wait_s(self) -> float:
        at = self._schedule.next_cron()
        if at is None:
            return math.inf
        return min(max((at - self._clock()).total_seconds(), 0.0), _LOOK_AGAIN_S)

    def _limit_s(self, due: Due) -> float:
        """How long it may run, in seconds; 0 is no limit."""
        if due.stage is not Stage.STOP:
            return due.script.timeout_s
        left_s = max(self._stop_by - trio.current_time(), 0.1)
        return min(due.script.timeout_s or math.inf, left_s)

    def _wake(self) -> None:
        self._changed.set()
        self._changed = trio.Event()

    async def _run(self, due: Due, nursery: trio.Nursery) -> None:
        run, script = self._runs.of(due), due.script
        run.started_at, run.began = self._clock().timestamp(), trio.current_time()
        self._log.info("script_started", script=script.name, stage=due.stage)
        self._runs.notify()

        def deliver(data: bytes) -> None:
            run.output.write(data)
            self._runs.notify()

        ending = await self._runner.run(
            script.id,
            script.script,
            deliver,
            timeout_s=self._limit_s(due),
            background=nursery,
            log_path=script.log_path,
        )
        run.end(ending, trio.current_time())
        self._log.info("script_ended", script=script.name, state=ending.state, note=ending.note)
        self._schedule.ended(due)
        self._runs.stopped = self._schedule.stopped
        self._runs.notify()
        self._wake()
