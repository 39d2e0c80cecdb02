"""One child process: its lines, its end, and how it is stopped. A shell script plays Terraform."""

from __future__ import annotations

import signal
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio

from kled_coord.terraform.output.errors import TerraformMissingError
from kled_coord.terraform.process.command import TerraformCommand
from kled_coord.terraform.process.runner import Interrupt, StopLimits, run_terraform
from tests.kit.processes import is_alive
from tests.kit.waiting import wait_until

pytestmark = pytest.mark.slow

QUICK = StopLimits(interrupt_s=0.3, save_s=0.3, kill_s=5)
# Counts its SIGINTs; `wait` is what a shell can be interrupted in.
STUBBORN = """
n=0; trap 'n=$((n+1)); echo "int $n"' INT
sleep 60 >/dev/null 2>&1 & child=$!
echo ready
while kill -0 $child 2>/dev/null; do wait; done
"""
# Nothing that outlives the shell may hold its output open, or the reader waits for it.
SLEEP = "sleep 60 >/dev/null 2>&1 &"
OBEDIENT = f"trap 'kill $!; echo saved; exit 1' INT; {SLEEP} echo ready; wait"


class Lines(list[bytes]):
    """Keeps lines, and sets an event when the process is ready."""

    def __init__(self) -> None:
        super().__init__()
        self.ready = trio.Event()

    async def take(self, line: bytes) -> None:
        self.append(line)
        if line == b"ready":
            self.ready.set()


def shell(script: str, directory: Path) -> TerraformCommand:
    return TerraformCommand(
        argv=("/bin/sh", "-c", script), environment={"PATH": "/usr/bin:/bin"}, directory=directory
    )


@pytest.fixture
def run(tmp_path: Path) -> Any:
    async def run(script: str, lines: Lines, **more: Any) -> int:
        more.setdefault("interrupt", Interrupt())
        more.setdefault("limits", QUICK)
        more.setdefault("on_line", lines.take)
        with trio.fail_after(20):
            return await run_terraform(shell(script, tmp_path), on_stderr=lines.take, **more)

    return run


async def test_lines_of_both_kinds_arrive_and_the_code_is_returned(run: Any) -> None:
    lines = Lines()
    assert await run("echo out; echo err >&2; printf end; exit 3", lines) == 3
    assert sorted(lines) == [b"end", b"err", b"out"]


async def test_one_interrupt_is_one_signal(run: Any) -> None:
    lines, interrupt = Lines(), Interrupt()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(partial(run, OBEDIENT, lines, interrupt=interrupt))
        await lines.ready.wait()
        interrupt.ask()
        interrupt.ask()
    assert lines == [b"ready", b"saved"]


async def test_what_does_not_stop_is_asked_once_and_then_killed(run: Any) -> None:
    lines, interrupt, codes = Lines(), Interrupt(), []

    async def main() -> None:
        codes.append(await run(STUBBORN, lines, interrupt=interrupt))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(main)
        await lines.ready.wait()
        interrupt.ask()
    assert lines == [b"ready", b"int 1"]
    assert codes == [-signal.SIGKILL]


async def test_force_does_not_wait_for_the_deadline(run: Any) -> None:
    lines, interrupt = Lines(), Interrupt()
    patient = StopLimits(interrupt_s=600, save_s=0.3, kill_s=5)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(partial(run, STUBBORN, lines, interrupt=interrupt, limits=patient))
        await lines.ready.wait()
        interrupt.force()
    assert lines == [b"ready", b"int 1"]


async def test_cancel_stops_it_cleanly_and_reads_to_the_end(run: Any) -> None:
    lines = Lines()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(run, OBEDIENT, lines)
        await lines.ready.wait()
        nursery.cancel_scope.cancel()
    assert lines == [b"ready", b"saved"]


async def test_cancel_while_stopping_sends_no_second_signal(run: Any) -> None:
    lines, interrupt = Lines(), Interrupt()
    script = f"trap 'kill $!; sleep 0.2; echo saved; exit 1' INT; {SLEEP} echo ready; wait"
    patient = StopLimits(interrupt_s=10)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(partial(run, script, lines, interrupt=interrupt, limits=patient))
        await lines.ready.wait()
        interrupt.ask()
        nursery.cancel_scope.cancel()
    assert lines == [b"ready", b"saved"]


async def test_an_error_of_the_reader_stops_it_and_is_raised_as_itself(run: Any) -> None:
    async def fail(_line: bytes) -> None:
        raise LookupError("bad line")

    # More than a pipe holds: it ends only if somebody goes on reading.
    script = f"trap 'kill $!; yes | head -c 200000; exit 1' INT; {SLEEP} echo x; wait"
    with pytest.raises(LookupError, match="bad line"):
        await run(script, Lines(), on_line=fail)


async def test_a_child_left_behind_does_not_hold_us(run: Any) -> None:
    lines = Lines()
    with trio.fail_after(5):
        assert await run("sleep 2 & echo done", lines, limits=StopLimits(drain_s=0.1)) == 0
    assert lines == [b"done"]


async def test_at_its_end_nothing_of_its_group_is_alive(run: Any) -> None:
    lines = Lines()
    quiet = "sleep 300 >/dev/null 2>&1"
    stubborn = f"sh -c 'trap \"\" TERM HUP INT; {quiet}; {quiet}'"
    assert await run(f"{quiet} & echo $!; {stubborn} & echo $!", lines) == 0
    assert len(lines) == 2
    assert not [pid for pid in map(int, lines) if is_alive(pid)]


async def test_a_program_that_is_not_there_is_told(tmp_path: Path) -> None:
    command = TerraformCommand(argv=("/no/terraform",), environment={}, directory=tmp_path)
    lines = Lines()
    with pytest.raises(TerraformMissingError, match="/no/terraform"):
        await run_terraform(
            command,
            on_line=lines.take,
            on_stderr=lines.take,
            interrupt=Interrupt(),
            limits=QUICK,
        )


_DIES = """
import os, signal, sys, trio
from pathlib import Path
from kled_coord.terraform.process.command import TerraformCommand
from kled_coord.terraform.process.runner import Interrupt, StopLimits, run_terraform

async def die(line):
    os.kill(os.getpid(), signal.SIGKILL)

command = TerraformCommand(
    argv=tuple(sys.argv[1:]), directory=Path.cwd(), environment=dict(os.environ)
)
trio.run(
    lambda: run_terraform(
        command, on_line=die, on_stderr=die, interrupt=Interrupt(), limits=StopLimits()
    )
)
"""


def test_what_it_prints_after_our_death_does_not_end_it(tmp_path: Path) -> None:
    saved = tmp_path / "saved"
    text = f"echo one; sleep 0.3; echo two; echo three >&2; echo state >{saved}"
    argv = [sys.executable, "-c", _DIES, "sh", "-c", text]
    done = subprocess.run(argv, check=False)
    assert done.returncode == -signal.SIGKILL
    wait_until("the state is saved", saved.exists)
