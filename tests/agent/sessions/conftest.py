from __future__ import annotations

import os
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import trio

from kled_agent.machine.orphans import Children
from kled_agent.sessions.directory import Held, SessionDirectory, SessionSettings
from kled_agent.sessions.holder.frames import Attach, Attached, Ended, Frame, Input, ScreenOutput
from kled_agent.sessions.holder.link import HolderLink
from kled_agent.sessions.holder.shell import ShellJob
from kled_agent.sessions.terminal import TerminalRequest
from kled_wire.eventlog import EventLog

SHELL = ShellJob(
    executable="/bin/bash",
    argv=["-bash", "--norc", "--noprofile"],
    environment={
        "PATH": os.environ["PATH"], "PS1": "% ", "TERM": "xterm-256color", "LC_ALL": "C.UTF-8"
    },
    directory="/",
    terminal=TerminalRequest(term="xterm-256color", columns=80, rows=24),
)  # fmt: skip


@pytest.fixture
def state() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="kled") as folder:
        yield Path(folder) / "sessions"


@pytest.fixture
def make(state: Path, log: EventLog) -> Iterator[Callable[..., SessionDirectory]]:
    """Makes agents' directories of sessions; ends all sessions at the end."""
    made: list[SessionDirectory] = []

    def make(**settings: Any) -> SessionDirectory:
        one = SessionDirectory(
            settings=SessionSettings(directory=state, **settings), children=Children(), log=log
        )
        one.open()
        made.append(one)
        return one

    yield make
    make().end_all()
    for one in made:
        one.close()


@pytest.fixture
def sessions(make: Callable[..., SessionDirectory]) -> SessionDirectory:
    return make()


async def start(sessions: SessionDirectory, name: str = "main", **changes: Any) -> Held:
    held, _ = await sessions.find_or_start(name, replace(SHELL, **changes))
    return held


@dataclass
class Viewer:
    """An attached client that has seen `seen`, and `ended` at the end."""

    link: HolderLink
    seen: bytearray = field(default_factory=bytearray)
    ended: Ended | None = None

    async def type(self, text: str) -> None:
        await self.link.send(Input(text.encode()))

    async def frame(self) -> Frame | None:
        frame = await self.link.receive()
        if isinstance(frame, ScreenOutput):
            self.seen += frame.data
        elif isinstance(frame, Ended):
            self.ended = frame
        return frame

    async def read_until(self, wanted: str, *, within_s: float = 20) -> bytes:
        """What has been seen up to and with `wanted`; what follows is seen next time."""
        with trio.fail_after(within_s):
            while (at := self.seen.find(wanted.encode())) < 0:
                assert await self.frame() is not None, (wanted, bytes(self.seen[-500:]), self.ended)
        end = at + len(wanted.encode())
        found = bytes(self.seen[:end])
        del self.seen[:end]
        return found

    async def read_to_end(self) -> Ended | None:
        with trio.fail_after(20):
            while await self.frame() is not None:
                pass
        return self.ended


@asynccontextmanager
async def viewing(held: Held, **wanted: Any) -> AsyncIterator[Viewer]:
    from kled_agent.sessions.holder.link import open_link  # noqa: PLC0415

    async with open_link(held.directory) as link:
        viewer = Viewer(link)
        await link.send(Attach(**({"columns": 80, "rows": 24} | wanted)))
        with trio.fail_after(10):
            assert isinstance(await viewer.frame(), Attached)
        yield viewer


async def wait_until(condition: Callable[[], bool], within_s: float = 10) -> None:
    with trio.fail_after(within_s):
        while not condition():
            await trio.sleep(0.02)
