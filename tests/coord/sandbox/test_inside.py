"""SIGINT to what runs in a sandbox, and to nothing else."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import trio

from kled_coord.sandbox.inside import interrupt_confined

pytestmark = pytest.mark.slow

BWRAP = ("bwrap", "--dev-bind", "/", "/", "--proc", "/proc", "--unshare-pid", "--as-pid-1", "--")
HANDLES = """
import signal, subprocess, sys
def stop(*_): print("interrupted", flush=True); sys.exit(3)
signal.signal(signal.SIGINT, stop)
child = subprocess.Popen(["sleep", "60"])
print("ready", flush=True)
child.wait()
"""


async def start(*argv: str) -> trio.Process:
    return await trio.lowlevel.open_process(
        [*BWRAP, *argv], stdout=subprocess.PIPE, start_new_session=True
    )


async def read_until(process: trio.Process, text: bytes) -> None:
    assert process.stdout is not None
    got = b""
    with trio.fail_after(20):
        while text not in got:
            got += await process.stdout.receive_some() or pytest.fail(f"ended after {got!r}")


async def test_a_program_that_handles_it_is_interrupted_alone() -> None:
    """Its child did not get the signal, or `wait` would have returned before the handler ran."""
    process = await start(sys.executable, "-c", HANDLES)
    await read_until(process, b"ready")
    interrupt_confined(process.pid)
    await read_until(process, b"interrupted")
    with trio.fail_after(20):
        assert await process.wait() == 3


async def test_one_that_does_not_handle_it_yet_is_ended(tmp_path: Path) -> None:
    """The kernel keeps from a namespace's init what it does not handle: it would go on."""
    (tmp_path / "says").write_text("ready")
    process = await start("tail", "-f", str(tmp_path / "says"))
    await read_until(process, b"ready")
    interrupt_confined(process.pid)
    with trio.fail_after(20):
        assert await process.wait() == 128 + signal.SIGKILL


async def test_one_that_has_ended_is_no_error() -> None:
    process = await start("true")
    await process.wait()
    interrupt_confined(process.pid)
    interrupt_confined(os.getpid() + (1 << 22))
