"""The scripts of an agent, told to a fake coordinator."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import trio
import trio.testing

from kled_agent.scripts.service import Scripts
from kled_wire.control import messages
from kled_wire.control.agent_spec import Script


@dataclass
class Told:
    """What the coordinator has heard; it keeps all output, until it is told not to answer."""

    scripts: Scripts
    heard: list[messages.Message] = field(default_factory=list)
    printed: dict[str, dict[int, bytes]] = field(default_factory=dict)
    answering: bool = True

    async def send(self, message: messages.Message) -> None:
        await trio.lowlevel.checkpoint()
        self.heard.append(message)
        if isinstance(message, messages.ScriptOutput):
            self.printed.setdefault(message.run, {})[message.offset] = message.data
            if self.answering:
                end = message.offset + len(message.data)
                self.scripts.output_kept(messages.OutputKept(run=message.run, end=end))

    def states(self, script: str) -> list[str]:
        runs = [m for m in self.heard if isinstance(m, messages.ScriptRunChanged)]
        return [m.state for m in runs if m.script == script]

    def last(self, script: str) -> messages.ScriptRunChanged:
        runs = [m for m in self.heard if isinstance(m, messages.ScriptRunChanged)]
        return next(m for m in reversed(runs) if m.script == script)

    def output(self, script: str) -> bytes:
        return b"".join(data for _, data in sorted(self.printed[self.last(script).run].items()))

    async def until(self, condition: Callable[[], bool]) -> None:
        with trio.fail_after(20):
            while not condition():
                await trio.sleep(0.005)

    async def ended(self, script: str) -> messages.ScriptRunChanged:
        await self.until(
            lambda: (
                bool(self.states(script))
                and self.states(script)[-1] in {"succeeded", "failed", "timed_out"}
            )
        )
        return self.last(script)


Running = Callable[..., Any]


def script(name: str, text: str, **more: Any) -> Script:
    more = more if {"run_on_stop", "cron"} & more.keys() else {"run_on_start": True, **more}
    return Script(id=name, name=name, script=text, **more)
