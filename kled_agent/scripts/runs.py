"""The runs of an agent's scripts, in the form that the coordinator gets.

They outlive control links: a link that begins tells all of them, and of what they printed the part
that the coordinator has not answered for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

import trio

from kled_agent.scripts.output import RunOutput
from kled_agent.scripts.running import Ending
from kled_agent.scripts.schedule import Due, Stage
from kled_wire.control import messages

WAITING: Final = "waiting"
RUNNING: Final = "running"


@dataclass(slots=True, kw_only=True, eq=False)
class Run:
    """One run of a script. `began` is by Trio's clock, `started_at` seconds since 1970."""

    id: str
    build_id: str
    due: Due
    output: RunOutput = field(default_factory=RunOutput)
    started_at: float = 0.0
    began: float = 0.0
    duration_s: float = 0.0
    ending: Ending | None = None
    # How many bytes it had printed by its end; programs that it left behind may print more.
    printed: int = 0

    def end(self, ending: Ending, now: float) -> None:
        """Note that it has ended, at `now` of Trio's clock."""
        self.ending, self.duration_s = ending, now - self.began if self.started_at else 0.0
        self.printed = self.output.written

    def stage_open(self, stage: Stage) -> bool:
        """Whether it is of this stage and has not ended."""
        return self.due.stage is stage and self.ending is None

    def how(self) -> str:
        """How it ended, for a person."""
        assert self.ending is not None
        note = self.ending.note or f"exit code {self.ending.exit_code}"
        return f"{self.due.script.name}: {note}"

    @property
    def told_all(self) -> bool:
        """Whether the coordinator has what it printed by its end."""
        chunk = self.output.next_chunk(1)
        return chunk is None or chunk[0] >= self.printed

    @property
    def state(self) -> str:
        """As in messages.ScriptRunChanged."""
        if self.ending is not None:
            return self.ending.state
        return RUNNING if self.started_at else WAITING

    def message(self, now: float, state: str) -> messages.ScriptRunChanged:
        """What the coordinator is told; `now` by Trio's clock.

        Of one that has ended it hears "running" first, until it has what that printed.
        """
        ending = None if state == RUNNING else self.ending
        took = self.duration_s if ending else now - self.began if self.started_at else 0.0
        return messages.ScriptRunChanged(
            run=self.id,
            build_id=self.build_id,
            script=self.due.script.id,
            stage=self.due.stage,
            state=state,
            exit_code=-1 if ending is None else ending.exit_code,
            started_at=self.started_at,
            duration_s=took,
            note="" if ending is None else ending.note,
        )


class Runs:
    """The newest run of each script in each stage, in the order they came."""

    def __init__(self, new_id: Callable[[], str]) -> None:
        self._new_id = new_id
        self._runs: dict[tuple[Stage, str], Run] = {}
        self._news = trio.Event()
        # The build of the spec that is in force, and whether all scripts of a stop have ended.
        self.build_id = ""
        self.stopped = False

    def __iter__(self) -> Iterator[Run]:
        return iter(list(self._runs.values()))

    def add(self, due: Due) -> Run:
        """A script waits; its run before this one is forgotten."""
        run = Run(id=self._new_id(), build_id=self.build_id, due=due)
        self._runs.pop((due.stage, due.script.id), None)
        self._runs[due.stage, due.script.id] = run
        self.notify()
        return run

    def of(self, due: Due) -> Run:
        """The run of a script that is due; a new one where none waits."""
        run = self._runs.get((due.stage, due.script.id))
        return run if run is not None and run.state == WAITING else self.add(due)

    def keep(self, wanted: Callable[[Run], bool]) -> None:
        """Forget the others."""
        self._runs = {key: run for key, run in self._runs.items() if wanted(run)}

    def by_id(self, run_id: str) -> Run | None:
        """A run that is still known."""
        return next((run for run in self._runs.values() if run.id == run_id), None)

    def notify(self) -> None:
        """Something is to be told."""
        self._news.set()
        self._news = trio.Event()

    def next_news(self) -> trio.Event:
        """Set at the next `notify`; take it before looking."""
        return self._news
