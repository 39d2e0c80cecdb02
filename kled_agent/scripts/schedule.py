"""Decides which scripts to start, from specs, ended runs and times. Pure.

A start script runs once for each start of the workspace and each version of its text: an agent that
dials again, or is told the same again, runs nothing twice. Scripts of a stage that wait for nothing
run side by side, the others when those before them have ended, however they ended.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from kled_agent.scripts.cron import Cron, parse_cron
from kled_wire.control.agent_spec import AgentSpec, Script


class Stage(StrEnum):
    """Why a script runs."""

    START = "start"
    STOP = "stop"
    CRON = "cron"


@dataclass(frozen=True, slots=True, kw_only=True)
class Due:
    """A script to run, and why."""

    script: Script
    stage: Stage


@dataclass(slots=True)
class _Round:
    """The scripts of one stage, run once each in their order."""

    waiting: dict[str, Script] = field(default_factory=dict)
    begun: dict[str, Script] = field(default_factory=dict)
    running: set[str] = field(default_factory=set)

    def want(self, scripts: Iterable[Script]) -> list[Script]:
        """These are the scripts from now on; returns those that are to run and were not before."""
        known = {**self.begun, **self.waiting}
        asked = {script.id: script for script in scripts}
        new = [s for s in asked.values() if s.id not in known or known[s.id].script != s.script]
        kept = {i: asked[i] for i in self.waiting if i in asked}
        self.waiting = {**kept, **{script.id: script for script in new}}
        return new

    def take(self) -> Iterator[Script]:
        """Take the scripts that may begin now."""
        free = [s for s in self.waiting.values() if not self._held(s)]
        if not free and not self.running:
            # A circle, which the push refuses: better in any order than never.
            free = list(self.waiting.values())
        for script in free:
            del self.waiting[script.id]
            self.begun[script.id] = script
            self.running.add(script.id)
            yield script

    def _held(self, script: Script) -> bool:
        # An older text of the same script may still run.
        unended = self.running | (self.waiting.keys() - {script.id})
        return not unended.isdisjoint({*script.after, script.id})

    @property
    def over(self) -> bool:
        return not self.waiting and not self.running


class Schedule:
    """The scripts of one agent. Its owner calls `due` after each change, and at `next_cron`."""

    def __init__(self) -> None:
        self._build_id = ""
        self._start = _Round()
        self._stop: _Round | None = None
        self._stopping: tuple[Script, ...] = ()
        self._crons: dict[str, tuple[Script, Cron]] = {}
        self._next: dict[str, datetime] = {}
        self._cron_running: set[str] = set()
        self.problem = ""

    def set_spec(self, spec: AgentSpec, now: datetime) -> list[Due]:
        """Go by `spec` from now on; returns what will run because of it.

        `problem` says which cron expressions are none; everything else is in force.
        """
        if self._stop is not None and spec.build_id != self._build_id:
            # The workspace was stopped while we stayed, and this is its next start.
            self._stop, self._start = None, _Round(running=self._start.running)
        self._build_id = spec.build_id
        self._stopping = tuple(s for s in spec.scripts if s.run_on_stop)
        new = self._start.want(s for s in spec.scripts if s.run_on_start)
        self._set_crons([s for s in spec.scripts if s.cron], now)
        return [Due(script=script, stage=Stage.START) for script in new]

    def _set_crons(self, scripts: list[Script], now: datetime) -> None:
        problems = []
        before, self._crons = self._crons, {}
        for script in scripts:
            try:
                self._crons[script.id] = script, parse_cron(script.cron)
            except ValueError as error:
                problems.append(f"{script.name}: {error}")
                continue
            known = before.get(script.id)
            if known is None or known[0].cron != script.cron:
                self._plan(script.id, now)
        self._next = {i: at for i, at in self._next.items() if i in self._crons}
        self.problem = "; ".join(problems)

    def _plan(self, script_id: str, now: datetime) -> None:
        at = self._crons[script_id][1].next_after(now)
        if at is None:
            self._next.pop(script_id, None)
        else:
            self._next[script_id] = at

    def begin_stop(self) -> list[Due]:
        """The workspace stops: nothing else begins any more. Returns what will run, once."""
        if self._stop is not None:
            return []
        self._stop, self._start.waiting = _Round(), {}
        return [Due(script=s, stage=Stage.STOP) for s in self._stop.want(self._stopping)]

    @property
    def stopped(self) -> bool:
        """Whether the scripts of a stop have all ended."""
        return self._stop is not None and self._stop.over

    def due(self, now: datetime) -> list[Due]:
        """What is to be started now; it counts as running until `ended`."""
        if self._stop is not None:
            return [Due(script=script, stage=Stage.STOP) for script in self._stop.take()]
        found = [Due(script=script, stage=Stage.START) for script in self._start.take()]
        for script_id in [i for i, at in self._next.items() if at <= now]:
            self._plan(script_id, now)
            # A script that takes longer than its interval is skipped, not run twice at a time.
            if script_id not in self._cron_running:
                self._cron_running.add(script_id)
                found.append(Due(script=self._crons[script_id][0], stage=Stage.CRON))
        return found

    def next_cron(self) -> datetime | None:
        """When `due` has to be asked again, if nothing else happens."""
        return None if self._stop is not None else min(self._next.values(), default=None)

    def ended(self, due: Due) -> None:
        """A script that was due has ended."""
        if due.stage is Stage.CRON:
            self._cron_running.discard(due.script.id)
        elif due.stage is Stage.START:
            self._start.running.discard(due.script.id)
        elif self._stop is not None:
            self._stop.running.discard(due.script.id)
