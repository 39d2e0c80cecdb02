"""The supervisor as process 1 of a namespace of its own, with real programs below it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from kled_provider.kata.container.ending import AGENT_ENDED
from tests.kit.waiting import wait_until

ROOT = Path(__file__).parents[3]
pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root makes PID namespaces")


@contextmanager
def supervised(
    tmp_path: Path, agent: str, command: str | None = None
) -> Iterator[subprocess.Popen[str]]:
    """Process 1 is the supervisor; both programs are scripts of sh(1) in `tmp_path`."""

    def program(script: str) -> dict[str, Any]:
        return {"argv": ["/bin/sh", "-c", script], "cwd": str(tmp_path)}

    job = {"agent": program(agent), "command": command and program(command)}
    path = tmp_path / "job.json"
    path.write_text(json.dumps(job))
    vector = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]
    python = [sys.executable, "-m", "kled_agent.supervisor", str(path)]
    with subprocess.Popen(
        [*vector, *python], cwd=ROOT, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def first(process: subprocess.Popen[str]) -> psutil.Process:
    """Process 1 of the namespace, as the outside sees it."""
    outside = psutil.Process(process.pid)
    wait_until("process 1", lambda: bool(outside.children()))
    return outside.children()[0]


def test_the_container_ends_with_the_command_and_its_code(tmp_path: Path) -> None:
    agent = "trap 'echo goodbye >said; exit' TERM; echo up >up; while :; do sleep 0.05; done"
    command = "while [ ! -e up ]; do sleep 0.02; done; exit 7"
    with supervised(tmp_path, agent, command) as process:
        assert process.wait(timeout=30) == 7
    assert (tmp_path / "said").read_text() == "goodbye\n", "the agent was let go in good order"


def test_without_a_command_it_lives_as_long_as_the_agent(tmp_path: Path) -> None:
    with supervised(tmp_path, "exit 5") as process:
        assert process.wait(timeout=30) == 5


def test_a_dead_agent_is_started_again_and_the_command_goes_on(tmp_path: Path) -> None:
    with supervised(tmp_path, "echo $$ >>agents; exec sleep 1000", "exec sleep 1000") as process:
        agents = tmp_path / "agents"
        wait_until("an agent", lambda: agents.exists() and agents.read_text().endswith("\n"))
        sleeping = first(process).children()
        assert len(sleeping) == 2
        command, agent = sorted(sleeping, key=lambda child: child.pid)
        agent.kill()
        wait_until("another agent", lambda: agents.read_text().count("\n") == 2, within_s=30)
        assert command.is_running()
        assert process.poll() is None


def test_each_end_of_the_agent_is_told_to_whoever_waits_for_it(tmp_path: Path) -> None:
    with supervised(tmp_path, "echo no address >&2; exit 3", "exec sleep 1000") as process:
        assert process.stderr is not None
        said = [process.stderr.readline() for _ in range(4)]
    assert said[::2] == ["no address\n"] * 2
    found = [AGENT_ENDED.search(line.encode()) for line in said[1::2]]
    assert [each and each.groups() for each in found] == [(b"3", b"1"), (b"3", b"2")]


def test_signals_go_to_the_command_and_not_to_the_agent(tmp_path: Path) -> None:
    agent = "trap 'echo agent >>said' HUP; while :; do sleep 0.02; done"
    command = (
        "trap 'echo command >>said' HUP; trap 'exit 3' USR1; echo >up; while :; do sleep 0.02; done"
    )
    with supervised(tmp_path, agent, command) as process:
        wait_until("the command", (tmp_path / "up").exists)
        first(process).send_signal(signal.SIGHUP)
        wait_until("the signal", (tmp_path / "said").exists)
        first(process).send_signal(signal.SIGUSR1)
        assert process.wait(timeout=30) == 3
    assert (tmp_path / "said").read_text() == "command\n"


def test_without_a_command_signals_go_to_the_agent(tmp_path: Path) -> None:
    agent = "trap 'exit 4' TERM; echo >up; while :; do sleep 0.02; done"
    with supervised(tmp_path, agent) as process:
        wait_until("the agent", (tmp_path / "up").exists)
        first(process).terminate()
        assert process.wait(timeout=30) == 4


def test_orphans_are_reaped_and_what_is_left_at_the_end_is_ended(tmp_path: Path) -> None:
    orphans = "for i in 1 2 3 4 5; do (setsid sleep 0.01 &) ; done; (setsid sleep 1000 &)"
    with supervised(tmp_path, "exec sleep 1000", f"{orphans}; echo >up; read x <fifo") as process:
        os.mkfifo(tmp_path / "fifo")
        wait_until("the orphans", (tmp_path / "up").exists)
        one = first(process)

        def adopted() -> set[str]:
            return {f"{child.name()}:{child.status()}" for child in one.children()}

        wait_until(
            "only the living", lambda: len(one.children()) <= 3 and "zombie" not in str(adopted())
        )
        below = one.children(recursive=True)
        one.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == 128 + signal.SIGTERM
        assert not [child for child in below if child.is_running()]


def test_a_command_that_cannot_be_started_is_told(tmp_path: Path) -> None:
    (tmp_path / "job.json").write_text(
        json.dumps({"agent": {"argv": ["true"]}, "command": {"argv": ["/nowhere"]}})
    )
    done = subprocess.run(
        [sys.executable, "-m", "kled_agent.supervisor", str(tmp_path / "job.json")],
        capture_output=True, text=True, timeout=30, check=False, cwd=ROOT,
    )  # fmt: skip
    assert done.returncode == 127
    assert done.stderr == "kled-init: command: cannot start /nowhere: No such file or directory\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [("{", "it is no JSON"), (None, "No such file or directory")],
)
def test_a_job_that_is_none_is_one_line(tmp_path: Path, text: str | None, said: str) -> None:
    if text is not None:
        (tmp_path / "job").write_text(text)
    done = subprocess.run(
        [sys.executable, "-m", "kled_agent.supervisor", str(tmp_path / "job")],
        capture_output=True, text=True, timeout=30, check=False, cwd=ROOT,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr == f"kled-init: {tmp_path}/job: {said}\n"
