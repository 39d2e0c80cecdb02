"""Processes found by their mark and ended, whatever they did to get away."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import trio

from kled_coord.terraform.process import leftovers
from kled_coord.terraform.process.leftovers import LeftoversError, end_processes, marked
from tests.kit.processes import is_alive

pytestmark = pytest.mark.slow

Starter = Callable[..., int]


@pytest.fixture
def mark(tmp_path: Path) -> str:
    """A mark that nothing else on this machine has."""
    return f"KLED_TEST_MARK={tmp_path}"


@pytest.fixture
def start(mark: str) -> Iterator[Starter]:
    """Starts a script that carries the mark; returns the first number it prints."""
    started = []

    def start(script: str, **more: str) -> int:
        name, _, value = mark.partition("=")
        environment = {"PATH": "/usr/bin:/bin", name: value, **more}
        process = subprocess.Popen(
            ["/bin/sh", "-c", script], env=environment, stdout=subprocess.PIPE, text=True
        )
        started.append(process)
        assert process.stdout is not None
        return int(process.stdout.readline())

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.mark.parametrize(
    "script",
    [
        "echo $$; exec sleep 300 >/dev/null",
        "setsid sh -c 'echo $$; exec sleep 300 >/dev/null'",
        "(setsid sh -c 'echo $$; exec sleep 300 >/dev/null' &)",
        "env -i setsid sh -c 'echo $$; exec sleep 300 >/dev/null' & wait",
        "trap '' TERM HUP INT; echo $$; while :; do sleep 300 >/dev/null; done",
    ],
    ids=["plain", "session", "orphan", "clean_environment", "stubborn"],
)
async def test_whatever_has_the_mark_or_descends_from_it_is_ended(
    start: Starter, mark: str, script: str
) -> None:
    pid = start(script)
    assert is_alive(pid)
    assert await end_processes(marked(re.compile(re.escape(mark.encode()))), grace_s=0.2) >= 1
    assert not is_alive(pid)


async def test_nothing_else_is(start: Starter, mark: str) -> None:
    longer = start("echo $$; exec sleep 300 >/dev/null", KLED_TEST_MARK=f"{mark}x")
    inside = start("echo $$; exec sleep 300 >/dev/null", OTHER=mark, KLED_TEST_MARK="")
    assert await end_processes(marked(re.compile(re.escape(mark.encode()))), grace_s=1) == 0
    assert is_alive(longer)
    assert is_alive(inside)


async def test_we_ourselves_and_whoever_started_us_are_spared() -> None:
    everything = marked(re.compile(rb"(?s).*"))
    family = {os.getpid(), os.getppid(), 1}
    with ExitStack() as stack:
        found = leftovers._open_chosen(everything, stack)
    assert not family & {status.pid for status in found}


async def test_what_does_not_end_is_told(
    start: Starter, mark: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pid = start("echo $$; exec sleep 300 >/dev/null")
    # As with one that waits for a disk: the signal is taken and nothing happens.
    monkeypatch.setattr(signal, "pidfd_send_signal", lambda *_arguments: None)
    mine = marked(re.compile(re.escape(mark.encode())))
    with trio.fail_after(5), pytest.raises(LeftoversError, match=str(pid)) as caught:
        await end_processes(mine, grace_s=0.01, kill_s=0.01)
    assert caught.value.code == "processes_left"
