"""The scripts of an agent whose home directory is the test's."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path

import pytest
import trio
import trio.testing

from kled_agent.machine.orphans import Children
from kled_agent.machine.users import DEFAULT_PATH, load_user
from kled_agent.scripts.login import ScriptDirectory
from kled_agent.scripts.running import Runner
from kled_agent.scripts.service import Scripts
from kled_wire.control.agent_spec import AgentSpec, Script
from kled_wire.eventlog import EventLog
from tests.agent.scripts.serving import Running, Told


@pytest.fixture
def running(tmp_path: Path, log: EventLog, monkeypatch: pytest.MonkeyPatch) -> Running:
    """The scripts of an agent whose user has the home directory `tmp_path`."""
    monkeypatch.setenv("KLED_AGENT_TOKEN", "kled_agent_secret")
    monkeypatch.setenv("PATH", DEFAULT_PATH)
    (tmp_path / ".profile").write_text("PATH=/usr/bin:/bin; export FROM_PROFILE=yes\n")

    @asynccontextmanager
    async def run(*scripts: Script, shell: str = "/bin/sh") -> AsyncIterator[Told]:
        user = load_user(None, shell=shell)
        object.__setattr__(user, "home", str(tmp_path))
        object.__setattr__(user, "programs", (f"{tmp_path}/place/bin", f"{tmp_path}/place/lib"))
        runner = Runner(
            user=lambda: user,
            environment={"KLED_WORKSPACE": "dev"},
            children=Children(),
            place=ScriptDirectory(directory=f"{tmp_path}/place"),
        )
        numbers = iter(range(1000))
        service = Scripts(runner, log, new_id=lambda: f"run_{next(numbers)}", clock=datetime.now)
        told = Told(service)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(service.serve)
            nursery.start_soon(service.tell, told)  # type: ignore[arg-type]  # a fake
            service.set_spec(AgentSpec(build_id="bld_1", scripts=scripts))
            yield told
            nursery.cancel_scope.cancel()

    return run
