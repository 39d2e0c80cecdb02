"""Reports scripts over one control link: their states and their output.

One piece of output is in flight at a time, and the next follows the coordinator's answer: so the
store limits the rate of a script's output, and other messages are not delayed. Output is collected
for a moment before it is sent; after the head of a run one piece a second is sent.
"""

from __future__ import annotations

import math
from typing import Final, Never

import trio

from kled_agent.scripts.runs import RUNNING, WAITING, Run, Runs
from kled_agent.scripts.schedule import Stage
from kled_wire import limits
from kled_wire.control import messages
from kled_wire.control.link import ControlLink

_COLLECT_S: Final = 0.1
_TAIL_EVERY_S: Final = 1.0


class ScriptReporter:
    """Tells one link of runs and their output, and keeps what it has told."""

    def __init__(self, runs: Runs, link: ControlLink) -> None:
        self._runs = runs
        self._link = link
        self._told: dict[str, str] = {}
        self._tails: dict[str, float] = {}
        self._awaited = ""
        self._answered = trio.Event()
        # How much a run had printed when not all that was told of it was kept: for the rest there
        # has to be more.
        self._held: dict[str, int] = {}
        self._told_spec = ""
        self._told_stopped = False

    def answered(self, message: messages.OutputKept) -> None:
        """The coordinator has kept a piece."""
        run = self._runs.by_id(message.run)
        if run is not None:
            run.output.taken(message.end)
        if self._awaited == message.run:
            self._answered.set()

    async def serve(self) -> Never:
        """Tell what is new until cancelled. Raises LinkClosed."""
        while True:
            news = self._runs.next_news()
            for run in self._runs:
                await self._tell_state(run, RUNNING if run.ending else run.state)
            await self._tell_spec()
            sent = [await self._tell_output(run) for run in self._runs]
            for run in self._runs:
                if run.ending is not None and run.told_all:
                    await self._tell_state(run, run.state)
            await self._tell_stopped()
            if any(sent):
                await trio.sleep(_COLLECT_S)
                continue
            with trio.move_on_after(self._next_tail_s()):
                await news.wait()

    async def _tell_spec(self) -> None:
        if self._told_spec != self._runs.build_id:
            self._told_spec = self._runs.build_id
            await self._link.send(messages.SpecSet(build_id=self._told_spec))

    async def _tell_stopped(self) -> None:
        if self._runs.stopped and not self._told_stopped and all(map(self._is_over, self._runs)):
            self._told_stopped = True
            await self._link.send(messages.StopScriptsEnded())

    def _is_over(self, run: Run) -> bool:
        return run.due.stage is not Stage.STOP or self._told.get(run.id) not in {WAITING, RUNNING}

    async def _tell_state(self, run: Run, state: str) -> None:
        told = self._told.get(run.id)
        # A run that was reported as ended stays ended, whatever is still printed.
        if told != state and told in {None, WAITING, RUNNING}:
            self._told[run.id] = state
            await self._link.send(run.message(trio.current_time(), state))

    async def _tell_output(self, run: Run) -> bool:
        """Tell one piece, if there is one and it is its time; whether there was."""
        found = run.output.next_chunk(limits.SCRIPT_CHUNK_BYTES)
        now = trio.current_time()
        if found is None or self._wait_s(run, now) > 0:
            return False
        if not run.output.in_head:
            self._tails[run.id] = now
        offset, data = found
        written = run.output.written
        final = run.ending is not None and offset + len(data) == written
        self._awaited, self._answered = run.id, trio.Event()
        await self._link.send(
            messages.ScriptOutput(run=run.id, offset=offset, data=data, final=final)
        )
        # A coordinator that does not answer is noticed by the heartbeat.
        await self._answered.wait()
        if run.output.next_chunk(1) is not None and offset + len(data) == written:
            self._held[run.id] = written
        return True

    def _wait_s(self, run: Run, now: float) -> float:
        """How long its next piece has to wait, in seconds."""
        if run.ending is not None and self._told.get(run.id) == RUNNING:
            return 0.0  # its end waits for this
        if self._held.get(run.id) == run.output.written:
            return math.inf
        if run.output.in_head:
            return 0.0
        return self._tails.get(run.id, -math.inf) + _TAIL_EVERY_S - now

    def _next_tail_s(self) -> float:
        now = trio.current_time()
        waits = [self._wait_s(run, now) for run in self._runs if run.output.next_chunk(1)]
        return max(min(waits, default=math.inf), 0.0)
