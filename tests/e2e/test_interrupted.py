"""A client that is told to end leaves nothing of it in the workspace."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from tests.kit.processes import running
from tests.kit.site import BIN, Site
from tests.kit.sockets import free_port
from tests.kit.waiting import wait_until

# Less than the agent keeps what a lost client has left.
_WITHIN_S = 5.0
# Not copied before it is seen to be.
_LARGE_MB = 256


def gone(look: Callable[[], object]) -> None:
    wait_until("nothing is left", lambda: not look(), within_s=_WITHIN_S)


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_the_command_of_exec_ends(site: Site, ending: signal.Signals) -> None:
    word = f"30{int(ending)}.25"
    with site.running(BIN / "kled", "exec", "dev", "--", "sleep", word) as client:
        wait_until("it runs", lambda: among(site, word))
        client.send_signal(ending)
        assert client.wait(20) == 128 + ending
        gone(lambda: among(site, word))


def among(site: Site, word: str) -> list[psutil.Process]:
    """What runs in the workspace with `word` among its arguments."""
    return running(word, site.agent("dev").children(recursive=True))


def test_the_listener_of_forward_ends(site: Site) -> None:
    port = free_port()
    words = ["forward", "dev", "-R", f"{port}:localhost:{free_port()}"]
    with site.running(BIN / "kled", *words, stderr=subprocess.DEVNULL) as client:
        wait_until("it listens", lambda: listens(port))
        client.send_signal(signal.SIGTERM)
        assert client.wait(20) == 128 + signal.SIGTERM
        gone(lambda: listens(port))


def listens(port: int) -> bool:
    with socket.socket() as tried:
        return tried.connect_ex(("127.0.0.1", port)) == 0


def test_the_file_that_cp_writes_is_let_go(site: Site, tmp_path: Path) -> None:
    source, target = tmp_path / "large", tmp_path / "there"
    with source.open("wb") as file:
        for _ in range(_LARGE_MB):
            file.write(os.urandom(1 << 20))
    with site.running(BIN / "kled", "cp", str(source), f"dev:{target}") as client:
        wait_until("some is there", lambda: holders(site, target))
        client.send_signal(signal.SIGINT)
        assert client.wait(20) == 128 + signal.SIGINT
        gone(lambda: holders(site, target))


def holders(site: Site, target: Path) -> list[str]:
    agent = site.agent("dev")
    opened = [
        file.path
        for process in [agent, *agent.children(recursive=True)]
        for file in process.open_files()
    ]
    return [path for path in opened if path.startswith(str(target.parent))]
