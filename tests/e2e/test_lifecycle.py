"""Stop, start, delete; programs that are killed; what is left afterwards."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Iterator

import psutil
import pytest

from tests.kit.processes import is_alive, running
from tests.kit.site import Site
from tests.kit.waiting import wait_until


@pytest.fixture
def box(site: Site) -> Iterator[str]:
    """A workspace of this test alone."""
    site.kled("create", "box", "--template", "process")
    yield "box"
    site.kled("delete", "box", "--yes", check=False)


def runs_inside(agent: psutil.Process, word: str) -> int:
    """How many programs of the agent have `word` among their arguments."""
    return len(running(word, agent.children(recursive=True)))


def test_stop_ends_the_agent_and_start_brings_it_back(site: Site, box: str) -> None:
    first = site.agent(box)
    before = site.ask("show", box)
    site.kled("stop", box)
    assert not is_alive(first.pid)
    assert site.ask("show", box)["status"] == "stopped"
    refused = site.kled("exec", box, "true", check=False)
    assert refused.returncode == 7
    assert "not connected" in refused.stderr
    assert f"kled start {box}" in refused.stderr
    site.kled("start", box)
    assert site.kled("exec", box, "echo", "back").stdout == "back\n"
    # The identity belongs to the workspace, not to a build.
    assert site.ask("show", box)["agent"]["id"] == before["agent"]["id"]


def test_a_killed_agent_is_started_anew(site: Site, box: str) -> None:
    first = site.agent(box)
    first.kill()
    wait_until(
        "the agent is seen as gone",
        lambda: site.ask("show", box)["agent"]["status"] == "disconnected",
    )
    site.kled("stop", box)
    site.kled("start", box)
    assert site.agent(box).pid != first.pid
    assert site.kled("exec", box, "echo", "back").stdout == "back\n"


def test_delete_leaves_no_process_and_no_terminal(site: Site, box: str) -> None:
    before = {p.pid for p in site.processes()}
    # A program on a terminal, one on pipes, a daemon in a session of its own that ignores SIGHUP.
    daemon = "nohup setsid sleep 1000 >/dev/null 2>&1 </dev/null & echo started; exec sleep 1000"
    words = site.ssh_words()
    with (
        site.running(*words, "-tt", f"{box}.kled", daemon) as terminal,
        site.running(*words, f"{box}.kled", daemon) as pipes,
    ):
        for process in (terminal, pipes):
            assert process.stdout is not None
            assert process.stdout.readline().strip() == b"started"
        agent = site.agent(box)
        wait_until("all programs run", lambda: runs_inside(agent, "sleep") >= 4)
        inside = agent.children(recursive=True)
        site.kled("delete", box, "--yes")
        assert not any(is_alive(p.pid) for p in (agent, *inside))
    left = {p.pid for p in site.processes()} - before
    assert not left, [psutil.Process(pid).cmdline() for pid in left]
    assert site.kled("show", box, check=False).returncode == 4


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_agents_are_back_after_the_coordinator_restarts(
    site: Site, host: str, number: signal.Signals
) -> None:
    agent = site.agent("dev")
    site.stop_serving(number)
    site.serve()
    site.wait_connected("dev", within_s=15)
    assert site.ssh(host, "echo here").stdout == "here\n"
    assert site.agent("dev") == agent


def test_a_restart_while_a_build_runs_loses_nothing(site: Site) -> None:
    queued = site.kled("--output", "json", "create", "cut", "-t", "process", "--no-wait")
    assert json.loads(queued.stdout)["name"] == "cut"
    site.stop_serving(signal.SIGKILL)
    site.serve()
    wait_until(
        "the build has ended",
        lambda: site.ask("show", "cut")["latest_build"]["status"] in {"succeeded", "failed"},
        within_s=100,
    )
    if site.ask("show", "cut")["status"] != "running":
        site.kled("start", "cut")
    site.wait_connected("cut")
    assert site.kled("exec", "cut", "echo", "fine").stdout == "fine\n"
    site.kled("delete", "cut", "--yes")
    site.wait_connected("dev")


def test_a_session_ends_when_its_client_is_killed(site: Site, host: str) -> None:
    agent = site.agent("dev")
    argv = [*site.ssh_words(), "-tt", host, "echo ready; exec sleep 1234"]
    with site.running(*argv, stderr=subprocess.DEVNULL) as client:
        assert client.stdout is not None
        assert client.stdout.readline().strip() == b"ready"
        client.kill()
    wait_until(
        "the program on its terminal is gone",
        lambda: not runs_inside(agent, "1234"),
    )
