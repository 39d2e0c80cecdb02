"""What a terminal shows before its shell, with a real ssh."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import trio

from kled_agent.ssh.identity import OpenGate
from tests.agent.ssh.site import Site

SAID = b"welcome\r\nto the workspace\r\n"


class Gate(OpenGate):
    """A template that has set `motd_file`."""

    def __init__(self, path: str) -> None:
        self._path = path

    def motd_file(self) -> str:
        return self._path


@pytest.fixture
def motd(site: Site) -> Path:
    assert site.defaults is not None
    path = site.home / "my motd"
    path.write_text("welcome\nto the workspace\n")
    site.defaults.logins = Gate(str(path))
    return path


async def test_each_new_terminal_shows_it_and_nothing_else_does(site: Site, motd: Path) -> None:
    done = await site.ssh("-tt", stdin=b"exit\n")
    assert done.stdout.startswith(SAID)
    assert SAID not in (await site.ssh("-tt", "echo in")).stdout
    assert (await site.ssh("echo in")).stdout == b"in\n"
    assert site.defaults is not None
    site.defaults.logins = Gate("~/my motd")
    assert (await site.ssh("-tt", stdin=b"exit\n")).stdout.startswith(SAID)
    (site.home / ".hushlogin").touch()
    assert SAID not in (await site.ssh("-tt", stdin=b"exit\n")).stdout


@pytest.mark.parametrize("is_fifo", [False, True])
async def test_a_file_that_cannot_be_read_keeps_nobody_out(
    site: Site, motd: Path, *, is_fifo: bool
) -> None:
    motd.unlink()
    if is_fifo:
        os.mkfifo(motd)
    with trio.fail_after(30):
        done = await site.ssh("-tt", stdin=b"echo $((6*7))\nexit\n")
    assert b"42" in done.stdout
    assert b"my motd" not in done.stdout


async def test_only_so_much_of_it_is_shown(site: Site, motd: Path) -> None:
    motd.write_text("x" * 100_000)
    done = await site.ssh("-tt", stdin=b"exit\n")
    assert 65536 <= done.stdout.count(b"x") < 70_000
