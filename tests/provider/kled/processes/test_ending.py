"""The end of an agent's process, for whoever waits for the agent to connect."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
import trio
import trio.testing

from kled_provider.kled.processes import running as processes
from kled_provider.kled.processes.ending import last_lines, wait_agent_end
from kled_provider.kled.processes.running import ProcessDirectory, ProcessSpec

pytestmark = pytest.mark.slow


def shell(script: str, agent_id: str = "a-1") -> ProcessSpec:
    return ProcessSpec(argv=("/bin/sh", "-c", script), env={}, agent_id=agent_id)


async def test_an_end_is_told_with_the_lines_of_this_start(place: ProcessDirectory) -> None:
    place.directory.mkdir()
    place.log.write_text("of an earlier start\n")
    await processes.start(place, shell("sleep 0.2; echo; echo no; echo '  bad token'; exit 3"), "g")
    with trio.fail_after(10):
        said = await wait_agent_end("w-1", str(place.directory.parent), "a-1")
    assert said == ("", ("no", "bad token"))


async def test_an_agent_that_lives_or_is_elsewhere_is_waited_for(place: ProcessDirectory) -> None:
    running = await processes.start(place, shell("exec sleep 300"), "g")
    ended: list[str] = []

    async def wait(agent_id: str) -> None:
        await wait_agent_end("w-1", str(place.directory.parent), agent_id)
        ended.append(agent_id)
        nursery.cancel_scope.cancel()

    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait, "a-1")
            nursery.start_soon(wait, "elsewhere")
            await trio.testing.wait_all_tasks_blocked()
            assert ended == []
            os.kill(running.pid, signal.SIGKILL)
    assert ended == ["a-1"]


async def test_whoever_adopts_a_process_says_which_agent_it_is(place: ProcessDirectory) -> None:
    await processes.start(place, shell("exec sleep 300", "old"), "g1")
    running = await processes.start(place, shell("exec sleep 300", "a-1"), "g2")
    assert processes.recorded(place) == running
    os.kill(running.pid, signal.SIGKILL)
    with trio.fail_after(10):
        assert await wait_agent_end("w-1", str(place.directory.parent), "a-1") == ("", ())


def test_only_the_end_of_a_log_is_read_and_nothing_but_a_file(tmp_path: Path) -> None:
    log = tmp_path / "x.log"
    assert last_lines(log, 0) == ()
    log.write_bytes(b"x" * 9000 + b"\n" + b"\n".join(b"line %d \xff" % n for n in range(9)))
    assert last_lines(log, 0) == tuple(f"line {n} \N{REPLACEMENT CHARACTER}" for n in range(4, 9))
    assert last_lines(log, 10**6) == ()
    log.write_bytes(b"y" * 9000)
    assert last_lines(log, 1000) == ("y" * 300,)
    (tmp_path / "link").symlink_to(log)
    os.mkfifo(tmp_path / "fifo")
    assert [last_lines(tmp_path / name, 0) for name in ("link", "fifo", ".")] == [(), (), ()]
