"""The file of `log_path`: where it is, and how much is in it."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest
import trio

from kled_agent.machine.orphans import Children
from kled_agent.machine.users import load_user
from kled_agent.scripts.logfile import LogFile, log_command
from kled_agent.scripts.login import log_file
from kled_agent.sessions.program import Command


@pytest.mark.parametrize(
    ("path", "file"),
    [
        ("/var/log/x.log", "/var/log/x.log"),
        ("x.log", "/tmp/x.log"),
        ("~/x.log", "/home/me/x.log"),
        ("~", "/home/me"),
        ("~x", "/tmp/~x"),
        ("$HOME/${NAME}.log", "/home/me/n.log"),
        ("$GONE/x.log", "/x.log"),
    ],
)
def test_a_path_is_read_as_its_author_means_it(path: str, file: str) -> None:
    assert log_file(path, {"HOME": "/home/me", "NAME": "n"}, "/tmp") == file


async def test_the_file_is_bounded_and_says_so(tmp_path: Path) -> None:
    log, complaints, children = LogFile(max_bytes=10), bytearray(), Children()
    argv = log_command(f"{tmp_path}/log")
    command = Command(user=load_user(None), environment={}, children=children, argv=argv)
    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            await nursery.start(log.keep, command, complaints.extend, children)
            for piece in (b"12345", b"6789", b"abc", b"def"):
                log.write(piece)
            log.end()
    kept = (tmp_path / "log").read_bytes()
    assert kept == b"123456789a\nkled-agent: the rest of the output is not kept in this file\n"
    assert not complaints


async def test_what_cannot_be_started_is_a_complaint() -> None:
    log, complaints, children = LogFile(), bytearray(), Children()
    command = Command(
        user=load_user(None), environment={}, children=children, argv=log_command("a\0b")
    )
    async with trio.open_nursery() as nursery:
        await nursery.start(log.keep, command, complaints.extend, children)
    log.write(b"nobody reads it")
    log.end()
    assert complaints.startswith(b"kled-agent: log_path: ")


async def test_who_is_cancelled_leaves_no_program() -> None:
    log, children = LogFile(), Children()
    command = Command(user=load_user(None), environment={}, children=children, argv=("cat",))
    before = set(psutil.Process().children())
    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            await nursery.start(log.keep, command, bytearray().extend, children)
            nursery.cancel_scope.cancel()
    assert set(psutil.Process().children()) <= before
