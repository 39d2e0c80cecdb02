"""A session goes on when its transports die: the relay, the coordinator, the way between."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Iterator

import pytest

from tests.kit.programs import say, send_through
from tests.kit.proxy import only_websockets
from tests.kit.site import BIN, Site
from tests.kit.terminal import Terminal

SIZE = 60_000_000


@pytest.fixture
def survivor(site: Site) -> list[str]:
    """The ssh command over a resumable stream, though the coordinator is on this machine."""
    config = site.root / "ssh_resumable"
    block = site.ssh_config.read_text()
    assert "stream --fdpass" in block
    config.write_text(block.replace("stream --fdpass", "stream --resume always --fdpass"))
    return ["ssh", "-F", str(config), "-o", "ControlMaster=no", "-o", "ControlPath=none"]


@pytest.fixture
def cat(site: Site, survivor: list[str]) -> Iterator[subprocess.Popen[bytes]]:
    """`ssh dev.kled cat`, running."""
    process = subprocess.Popen(
        [*survivor, "dev.kled", "cat"],
        env=site.env,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        bufsize=0,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()


def test_bulk_data_survives_a_relay_that_is_killed_again_and_again(
    site: Site, cat: subprocess.Popen[bytes]
) -> None:
    kills = 0

    def kill(got: int) -> None:
        nonlocal kills
        if got > SIZE * (kills + 1) // 6 and kills < 5:
            for process in site.relays():
                process.kill()
            kills += 1

    send_through(cat, os.urandom(SIZE), kill)
    assert kills == 5


def test_a_shell_outlives_a_coordinator_that_is_killed_with_its_relay(
    site: Site, cat: subprocess.Popen[bytes]
) -> None:
    assert say(cat, b"before") == b"before\n"
    before = site.relays()
    site.stop_serving(signal.SIGKILL)
    for process in before:
        process.kill()
    site.serve()
    assert say(cat, b"after") == b"after\n"
    site.wait_connected("dev")


def piped(site: Site, words: list[str], **environment: str) -> subprocess.Popen[str]:
    """A shell over pipes, that runs."""
    process = subprocess.Popen(
        words,
        env={**site.env, **environment},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write("echo up\n")
    process.stdin.flush()
    assert process.stderr is not None
    assert process.stdout.readline() == "up\n", process.stderr.read()
    return process


# What is said of an agent depends on what the next dial finds: it has ended, the workspace is
# stopped meanwhile, or there is another agent already.
_GONE = "kled: the (workspace's agent has ended|workspace .* is stop|agent was restarted)"


def test_an_agent_that_is_gone_is_said_and_not_waited_for(site: Site, survivor: list[str]) -> None:
    """On ssh's terminal by the pump that has none, on standard error by one that has it."""
    site.kled("create", "shortlived", "--template", "process")
    pump = ["-o", "ProxyUseFdpass=no", "-o", f"ProxyCommand={BIN}/kled stream --resume always %h"]
    ssh = [*survivor, *pump, "shortlived.kled", "sh"]
    token = site.ask("token", "create", "proxied")["token"]
    try:
        shell = Terminal([*survivor, "shortlived.kled"], site.env)
        shell.type("echo up=$((20+1))\r")
        shell.wait_for("up=21")
        with (
            only_websockets(site.port) as proxy,
            piped(site, ssh) as direct,
            piped(
                site, ssh, KLED_URL=f"http://127.0.0.1:{proxy.port}", KLED_TOKEN=token
            ) as carried,
        ):
            assert proxy.refused
            site.agent("shortlived").kill()
            site.kled("stop", "shortlived")
            site.kled("start", "shortlived")
            for process in (direct, carried):
                assert process.stderr is not None
                assert re.search(_GONE, process.stderr.read())
                assert process.wait(30) == 255
        shell.wait_for("kled: the ")
        assert re.search(_GONE, shell.text)
        assert shell.close() == 255
    finally:
        site.kled("delete", "shortlived", "--yes")
