"""Logins that wait for the scripts of an agent."""

from __future__ import annotations

import os
from pathlib import Path

import trio
import trio.testing

from kled_agent.ssh.login_wait import LoginWait
from kled_wire.control.agent_spec import AgentSpec
from kled_wire.eventlog import EventLog
from tests.agent.control.coordinator import make_scripts
from tests.agent.scripts.serving import Running, Told, script


async def wait_of(told: Told, said: list[bytes]) -> bool:
    wait = LoginWait(told.scripts, said.append)
    with trio.fail_after(20):
        return await wait.run()


async def test_a_login_waits_for_what_blocks_it_and_hears_what_went_wrong(
    running: Running, tmp_path: Path
) -> None:
    os.mkfifo(tmp_path / "go")
    blocking = script("clone", f"read x <{tmp_path}/go; exit 4", blocks_login=True)
    async with running(blocking, script("other", "sleep 1000")) as told:
        said: list[bytes] = []
        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait_of, told, said)
            await told.until(lambda: bool(said))
            assert said[0].startswith(b"kled: waiting for clone; kled logs -f")
            await trio.to_thread.run_sync((tmp_path / "go").write_text, "x\n")
        assert said[1:] == [b"kled: not all went well: clone: exit code 4; see kled logs\r\n"]
        said.clear()
        assert await wait_of(told, said)
        assert said == [], "nothing is waited for, so nothing is said"


async def test_a_login_waits_for_the_build_whose_spec_is_to_come(log: EventLog) -> None:
    scripts = make_scripts(log)
    assert scripts.waits_for() == ()
    scripts.spec_follows = True
    assert scripts.waits_for() == ("the build",)
    said: list[bytes] = []
    wait = LoginWait(scripts, said.append)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait.run)
        await trio.testing.wait_all_tasks_blocked()
        scripts.set_spec(AgentSpec(build_id="bld_1"))
    assert not wait.gave_up


async def test_ctrl_c_gives_up_the_wait(log: EventLog) -> None:
    scripts = make_scripts(log)
    scripts.spec_follows = True
    wait = LoginWait(scripts, lambda _: None)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait.run)
        await trio.testing.wait_all_tasks_blocked()
        wait.typed(b"ls\x03")
    assert wait.gave_up
