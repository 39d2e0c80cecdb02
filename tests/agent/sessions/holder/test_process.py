"""Holders as real processes: what they keep, whom they outlive, when they end."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
import trio

from kled_agent.machine.descendants import descendants, start_mark
from kled_agent.sessions.directory import SessionDirectory
from kled_agent.sessions.holder.frames import Input, Resize, SendSignal
from kled_agent.sessions.holder.ring import TAIL_BYTES
from tests.agent.sessions.conftest import SHELL, start, viewing, wait_until

# Real shells in holder processes of their own.
pytestmark = pytest.mark.slow

AGENT = """
import logging, sys, trio
from pathlib import Path
from kled_agent.machine.descendants import become_reaper
from kled_agent.machine.orphans import Children
from kled_agent.sessions.directory import SessionDirectory, SessionSettings
from kled_wire.eventlog import EventLog
from tests.agent.sessions.conftest import start

async def main():
    become_reaper()
    settings = SessionSettings(directory=Path(sys.argv[1]))
    log = EventLog(logging.getLogger())
    sessions = SessionDirectory(settings=settings, children=Children(), log=log)
    sessions.open()
    await start(sessions)
    print((await sessions.list())[0].shell_pid, flush=True)
    await trio.sleep_forever()

trio.run(main)
"""


async def test_a_shell_ends_with_its_status_and_leaves_nothing(
    sessions: SessionDirectory, state: Path
) -> None:
    held = await start(sessions)
    async with viewing(held) as viewer:
        await viewer.type("echo it $((40+2)); exit 3\n")
        await viewer.read_until("it 42")
        ended = await viewer.read_to_end()
        assert ended is not None
        assert (ended.code, ended.signal, ended.reason) == (3, None, "")
    await wait_until(lambda: not held.alive())
    assert not (state / "main").exists()


async def test_a_session_starts_with_modes_that_a_terminal_has_not(
    sessions: SessionDirectory,
) -> None:
    """Parity: a client on a serial line has it, and a pseudoterminal has none."""
    terminal = replace(SHELL.terminal, modes={92: 1})
    async with viewing(await start(sessions, terminal=terminal)) as viewer:
        await viewer.type("echo it $((40+2))\n")
        await viewer.read_until("it 42")


async def test_a_shell_that_is_killed_tells_the_signal(sessions: SessionDirectory) -> None:
    async with viewing(await start(sessions)) as viewer:
        await viewer.type("kill -9 $$\n")
        ended = await viewer.read_to_end()
        assert ended is not None
        assert ended.signal == "KILL"


async def test_what_cannot_be_started_says_why(sessions: SessionDirectory) -> None:
    with pytest.raises(Exception, match="No such file") as failed:
        await start(sessions, executable="/no/such/shell")
    assert getattr(failed.value, "code", "") == "session_not_started"
    assert sessions.living() == []


async def test_the_terminal_is_read_with_nobody_attached(
    make: Callable[..., SessionDirectory], state: Path, tmp_path: Path
) -> None:
    done = tmp_path / "done"
    sessions = make(ring_bytes=1_000_000)
    held = await start(sessions)
    async with viewing(held) as viewer:
        await viewer.type(f"yes | head -c 3M; touch {done}\n")
        await viewer.read_until("y\r\ny\r\n")
    await wait_until(done.exists, within_s=60)
    size = (state / "main" / "output").stat().st_size
    assert size <= sessions.settings.ring_bytes
    assert (state / "main" / "output").stat().st_mode & 0o777 == 0o600
    assert (state / "main" / "s").stat().st_mode & 0o777 == 0o600
    async with viewing(held) as viewer:
        await viewer.type("echo still''-here\n")
        await viewer.read_until("still-here")


async def test_a_small_ring_stays_small(make: Callable[..., SessionDirectory], state: Path) -> None:
    sessions = make(ring_bytes=TAIL_BYTES)
    held = await start(sessions)
    async with viewing(held) as viewer:
        await viewer.type("seq 1 300000; echo do''ne\n")
        await viewer.read_until("done", within_s=60)
    assert (state / "main" / "output").stat().st_size <= TAIL_BYTES
    found = (await sessions.list())[0]
    assert found.output_total > 2_000_000
    assert TAIL_BYTES <= found.kept_bytes <= 2 * TAIL_BYTES


async def test_a_session_outlives_an_agent_that_is_killed_and_is_adopted(
    make: Callable[..., SessionDirectory], state: Path
) -> None:
    agent = subprocess.Popen(  # noqa: ASYNC220 - it is killed in a moment
        [sys.executable, "-c", AGENT, str(state)], stdout=subprocess.PIPE, text=True
    )
    assert agent.stdout is not None
    with agent, agent.stdout:
        shell = int(await trio.to_thread.run_sync(agent.stdout.readline))
        agent.kill()
    sessions = make()
    (found,) = await sessions.list()
    assert found.shell_pid == shell
    async with viewing(sessions.find("main")) as viewer:
        await viewer.type("echo shell $$\n")
        await viewer.read_until(f"shell {shell}")


async def test_the_end_of_the_workspace_ends_adopted_sessions_and_their_background_programs(
    make: Callable[..., SessionDirectory], state: Path, tmp_path: Path
) -> None:
    held = await start(make())
    pids = tmp_path / "pid"
    async with viewing(held) as viewer:
        await viewer.type(f"(trap '' HUP; setsid sleep 1000 & echo $! > {pids}; sleep 1000) &\n")
        await wait_until(lambda: pids.exists() and bool(pids.read_text().strip()))
    below = descendants(held.pid)
    assert len(below) >= 3
    began = time.monotonic()
    await trio.to_thread.run_sync(make().end_all)
    assert time.monotonic() - began < 4
    assert not [pid for pid in below if start_mark(pid)]
    assert not (state / "main").exists()


async def test_a_session_whose_directory_is_removed_ends(
    make: Callable[..., SessionDirectory], state: Path
) -> None:
    held = await start(make(tick_s=0.05))
    below = descendants(held.pid)
    shutil.rmtree(state / "main")
    await wait_until(lambda: not held.alive())
    assert not [pid for pid in below if start_mark(pid)]


async def test_a_session_ends_without_use_and_without_an_agent_and_not_before(
    make: Callable[..., SessionDirectory],
) -> None:
    sessions = make(idle_s=1.5, orphan_s=0.5, tick_s=0.05)
    used = await start(sessions, "used")
    async with viewing(used) as viewer:
        unused = await start(sessions, "unused")
        await wait_until(lambda: not unused.alive())
        assert used.alive()  # somebody is attached, and for longer than it needs one an agent there
        sessions.close()
        ended = await viewer.read_to_end()
    assert ended is not None
    assert ended.reason == "there was no agent for 0.5 s"


async def test_two_clients_see_and_type_in_one_session(sessions: SessionDirectory) -> None:
    held = await start(sessions)
    async with viewing(held) as one, viewing(held) as other:
        await one.type("echo from-$((1))\n")
        await one.read_until("from-1")
        await other.read_until("from-1")
        await other.type("echo from-$((2))\n")
        await one.read_until("from-2")


async def test_who_watches_only_cannot_type_resize_or_signal(sessions: SessionDirectory) -> None:
    held = await start(sessions)
    async with viewing(held) as one, viewing(held, read_only=True, columns=30, rows=9) as watcher:
        await watcher.link.send(Input(b"echo in''truder\n"))
        await watcher.link.send(Resize(columns=40, rows=10))
        await watcher.link.send(SendSignal(name="KILL"))
        await one.type("stty size; echo en''d\n")
        seen = await one.read_until("end")
        assert b"24 80" in seen
        assert b"intruder" not in seen
        await watcher.read_until("end")
        (found,) = await sessions.list()
        assert (found.clients, found.watchers) == (1, 1)


@pytest.mark.parametrize(("policy", "after"), [("latest", b"50 120"), ("smallest", b"24 80")])
async def test_whose_size_counts(
    make: Callable[..., SessionDirectory], policy: str, after: bytes
) -> None:
    held = await start(make(size=policy))
    async with viewing(held) as one, viewing(held, columns=120, rows=50) as other:
        await other.type("stty size; echo e''nd\n")
        assert after in await other.read_until("end")
        await one.type("stty size; echo e''nd\n")
        await one.read_until("end")
        assert b"24 80" in await one.read_until("end")
    async with viewing(held, columns=200, rows=60) as third:
        await third.type("stty size\n")
        await third.read_until("60 200\r\n")


async def test_ctrl_c_stops_a_flood_at_once_although_the_client_is_slow(
    sessions: SessionDirectory,
) -> None:
    """A client that takes 200 KB/s sees the prompt as soon as what was under way has come."""
    held = await start(sessions)
    async with viewing(held) as viewer:
        await viewer.type("yes flood\n")
        await viewer.read_until("flood\r\nflood")
        with trio.move_on_after(2):
            while True:
                await viewer.frame()
                await trio.sleep(0.08)
        viewer.seen.clear()
        await viewer.type("\x03")
        began = len(viewer.seen)
        with trio.fail_after(10):
            while b"% " not in viewer.seen:
                await viewer.frame()
        # Nothing but what the queue, the socket and the link held.
        assert len(viewer.seen) - began < 400_000
        assert b"KB skipped, `kled session log main` shows them]" in viewer.seen
        await viewer.type("echo a''live\n")
        await viewer.read_until("alive")


async def test_a_client_that_takes_nothing_delays_nobody(sessions: SessionDirectory) -> None:
    held = await start(sessions)
    async with viewing(held) as stuck, viewing(held) as viewer:
        await viewer.type("yes | head -c 8M; echo do''ne\n")
        await viewer.read_until("done", within_s=60)
        await stuck.read_until("KB skipped")
        await stuck.read_until("done")


async def test_output_after_an_offset_comes_raw(sessions: SessionDirectory) -> None:
    held = await start(sessions)
    async with viewing(held) as viewer:
        await viewer.type("echo some-$((1)) line\n")
        await viewer.read_until("some-1 line\r\n")
    total = (await sessions.list())[0].output_total
    async with viewing(held, after=total - 15) as viewer:
        await viewer.type("echo next-$((2))\n")
        seen = await viewer.read_until("next-2")
        assert b"\x1b[2J" not in seen


async def test_a_holder_is_small(sessions: SessionDirectory) -> None:
    held = await start(sessions)
    async with viewing(held) as viewer:
        await viewer.type("seq 1 50000; echo do''ne\n")
        await viewer.read_until("done")
    async with viewing(held) as viewer:  # has a picture drawn
        assert b"\x1b[H\x1b[2J" in await viewer.read_until("done")
    status = Path(f"/proc/{held.pid}/status").read_text()
    rss = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS"))
    assert rss < 20_000, f"{rss} KB"
    maps = Path(f"/proc/{held.pid}/environ").read_bytes()
    assert b"KLED" not in maps


async def test_a_stranger_on_the_socket_harms_nobody(sessions: SessionDirectory) -> None:
    held = await start(sessions)
    async with sessions.link(held) as link:
        await link._stream.send_all(os.urandom(100_000))
        with trio.fail_after(5), suppress(trio.BrokenResourceError):
            assert await link.receive() is None
    async with viewing(held) as viewer:
        await viewer.type("echo a''live\n")
        await viewer.read_until("alive")
    assert held.alive()
