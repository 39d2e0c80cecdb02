"""The log of a container: rotated by lines, bounded, and never in the container's way."""

from __future__ import annotations

import json
import os
import resource
import signal
import socket
import subprocess
import sys
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from kled_provider.kata.output import logger
from kled_provider.kata.output.logger import RotatedFile, cut
from tests.kit.private_containerd import logger_pids
from tests.kit.waiting import wait_until


@given(st.lists(st.binary(max_size=12)), st.integers(0, 20), st.integers(1, 20))
def test_lines_that_fit_into_a_file_are_not_cut(
    lines: list[bytes], room: int, file_bytes: int
) -> None:
    block, room = b"\n".join(lines), min(room, file_bytes)
    at = cut(block, room, file_bytes)
    assert 0 <= at <= min(len(block), room)
    assert at == len(block) or at > 0 or room < file_bytes, "an empty file takes something"
    if 0 < at < len(block) and block[at - 1 : at] != b"\n":
        begin = block.rfind(b"\n", 0, at) + 1
        assert begin == 0
        assert len(block.split(b"\n")[0]) >= file_bytes, "it had to be"


@given(st.lists(st.binary(min_size=1, max_size=40), max_size=30))
def test_what_is_kept_is_the_end_of_what_was_written_in_order(blocks: list[bytes]) -> None:
    import tempfile  # noqa: PLC0415 - hypothesis takes no function-scoped fixtures

    with tempfile.TemporaryDirectory() as directory:
        log = Path(directory, "log")
        target = RotatedFile(str(log), 64, 3)
        for block in blocks:
            target.write(block)
        files = [log.with_name("log.2"), log.with_name("log.1"), log]
        kept = b"".join(f.read_bytes() for f in files if f.exists())
        assert b"".join(blocks).endswith(kept)
        assert all(f.stat().st_size <= 64 for f in files if f.exists())
        assert len(kept) >= min(len(b"".join(blocks)), 64)
        assert not log.with_name("log.3").exists()


def test_one_file_alone_is_begun_anew(tmp_path: Path) -> None:
    target = RotatedFile(str(tmp_path / "log"), 8, 1)
    for line in (b"first\n", b"second\n"):
        target.write(line)
    assert [p.read_bytes() for p in tmp_path.iterdir()] == [b"second\n"]


def test_what_a_full_disk_does_not_take_is_counted_and_told(tmp_path: Path) -> None:
    target = RotatedFile(str(tmp_path / "log"), 1 << 20, 2)
    target.write(b"before\n")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, hard))
    try:
        target.write(b"lost here\n")
        target.write(b"and here\n")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)
    target.write(b"after\n")
    kept = (tmp_path / "log").read_text()
    assert kept.startswith("before\nlos")
    assert kept.endswith("[kled: 16 bytes lost: they could not be written]\nafter\n")


def test_it_ends_by_sigterm_and_writes_first_what_is_in_the_pipe(tmp_path: Path) -> None:
    fifo, log = tmp_path / "c1.fifo", tmp_path / "log"
    os.mkfifo(fifo)
    kept = {"log": str(log), "max_bytes": 1_000_000, "files": 2}
    (tmp_path / "c1.kept").write_text(json.dumps(kept))
    (tmp_path / "c2.kept").write_text("{}")  # of no use, and no hindrance
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "logger.sock"))
        listener.listen()
        number = listener.fileno()
        words = (logger.__file__, str(tmp_path), str(number), "1")
        vector = [sys.executable, "-I", "-S", *words]
        subprocess.run(vector, pass_fds=(number,), check=True)
    for text in ("one\n", "two\n"):  # two writers, one after the other, as of two tasks
        with fifo.open("w") as writer:
            writer.write(text)
    wait_until("both", lambda: log.exists() and log.read_text() == "one\ntwo\n")
    wait_until("two of them", lambda: len(logger_pids(tmp_path)) == 2)
    both = logger_pids(tmp_path)
    for pid in both:
        os.kill(pid, signal.SIGSTOP)
    with fifo.open("w") as writer:
        writer.write("three\n")
    os.kill(max(both), signal.SIGTERM)  # whichever that is
    for pid in both:
        os.kill(pid, signal.SIGCONT)
    wait_until("their end", lambda: not logger_pids(tmp_path))
    assert log.read_text() == "one\ntwo\nthree\n"
    assert log.stat().st_mode & 0o777 == 0o600
    assert not (tmp_path / "logger.sock").exists()
