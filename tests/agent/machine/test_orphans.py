"""Daemons that sessions leave behind: adopted, reaped, ended. In a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import trio
import trio.testing

from kled_agent.machine.orphans import Children

# It becomes the reaper, which this process must not: pytest's own children are none of ours.
_PROGRAM = """
import os, subprocess, sys, trio
from pathlib import Path
from kled_agent.machine.descendants import become_reaper, kill_descendants
from kled_agent.machine.orphans import Children, reap_orphans

DAEMON = "(setsid sh -c 'echo $$ > {path}; exec sleep {time}' </dev/null >/dev/null 2>&1 &)"

def pid_in(path):
    while not (Path(path).exists() and Path(path).read_text().strip()):
        pass
    return int(Path(path).read_text())

async def main(folder):
    assert become_reaper()
    async with trio.open_nursery() as nursery:
        ours = Children()
        await nursery.start(reap_orphans, ours)
        quick, slow = f"{folder}/quick", f"{folder}/slow"
        for path, time in ((quick, "0.05"), (slow, "1000")):
            await trio.run_process(["sh", "-c", DAEMON.format(path=path, time=time)])
        short, long = pid_in(quick), pid_in(slow)
        with trio.fail_after(10):
            while Path(f"/proc/{short}").exists():
                await trio.sleep(0.01)
        parent = Path(f"/proc/{long}/stat").read_text().split()[3]
        assert int(parent) == os.getpid(), "adopted"
        # Our own are left to those who wait for them, also when they end at once.
        for status in range(40):
            with ours.starting():
                process = await trio.lowlevel.open_process(["sh", "-c", f"exit {status}"])
                await trio.sleep(0.002)
                ours.started(process.pid)
            assert await process.wait() == status
            ours.waited(process.pid)
        nursery.cancel_scope.cancel()
    kill_descendants()
    assert not Path(f"/proc/{long}").exists(), "ended"

trio.run(main, sys.argv[1])
print("all well")
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux has subreapers")
def test_a_daemon_is_adopted_reaped_and_ended_and_our_own_keep_their_status(
    tmp_path: Path,
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, str(tmp_path)],
        capture_output=True, text=True, timeout=60, check=False, cwd=Path(__file__).parents[3],
    )  # fmt: skip
    assert done.stdout == "all well\n", done.stderr


async def test_reaping_waits_for_starts_that_are_under_way() -> None:
    children = Children()
    settled: list[bool] = []

    async def wait() -> None:
        await children.wait_settled()
        settled.append(True)

    await children.wait_settled()
    async with trio.open_nursery() as nursery:
        with children.starting():
            nursery.start_soon(wait)
            with children.starting():
                await trio.testing.wait_all_tasks_blocked()
            await trio.testing.wait_all_tasks_blocked()
            assert settled == []
    assert settled == [True]


def test_children_are_known_until_they_were_waited_for() -> None:
    children = Children()
    children.started(os.getpid())
    assert os.getpid() in children
    children.waited(os.getpid())
    children.waited(os.getpid())
    assert os.getpid() not in children
