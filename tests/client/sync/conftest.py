"""The state of the syncs for tests, their background process, and two folders."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio

from kled_client.sync.background import Background
from kled_client.sync.control import ask
from kled_client.sync.reach import Connect
from kled_client.sync.sessions import SyncSession
from kled_sync.files.root import sync_home

Env = dict[str, str]


@pytest.fixture
def env(tmp_path: Path) -> Env:
    return {**os.environ, "XDG_STATE_HOME": str(tmp_path / "state")}


@pytest.fixture
def session(tmp_path: Path) -> SyncSession:
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "a").write_text("1")
    return SyncSession(
        name="s", alpha=str(tmp_path / "here"), beta=str(tmp_path / "there"), durable="none"
    )


def nobody(_profile: str | None) -> Connect:
    def connect(_ref: object) -> Any:
        raise AssertionError("no workspace is asked for")

    return connect


@asynccontextmanager
async def running(env: Env) -> AsyncIterator[Callable[..., Any]]:
    """`kled sync background`; gives what asks it."""

    async def asked(do: str, **request: Any) -> Any:
        return await trio.to_thread.run_sync(partial(ask, env, do, start=False, **request))

    async with trio.open_nursery() as nursery:
        background = Background(sync_home(env), env, nobody)
        await nursery.start(background.run)
        yield asked
        nursery.cancel_scope.cancel()


def endpoints() -> list[int]:
    """The processes that syncs of this process have started."""
    tasks = Path("/proc/self/task").iterdir()
    children = [pid for task in tasks for pid in (task / "children").read_text().split()]
    command = b"-m\0kled_sync"
    return [int(pid) for pid in children if command in Path(f"/proc/{pid}/cmdline").read_bytes()]
