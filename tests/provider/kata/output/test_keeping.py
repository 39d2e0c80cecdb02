"""The process behind the logs: one for all, there while containers print, gone at the end."""

from __future__ import annotations

import io
import os
import signal
import socket
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import trio

from kled_provider.host import HostError
from kled_provider.kata.output import reaching
from kled_provider.kata.output.keeping import Outputs, read_end
from tests.kit.private_containerd import logger_pids
from tests.kit.waiting import wait_until


def working(outputs: Outputs) -> int:
    """Who reads the FIFOs, once another one stands by."""

    def found() -> list[int]:
        both = pids(outputs)
        reading = [pid for pid in both if reads_fifos(pid)]
        return reading if (len(both), len(reading)) == (2, 1) else []

    (pid,) = wait_until("one that works and one that stands by", found)
    return pid


def pids(outputs: Outputs) -> set[int]:
    return set(logger_pids(outputs.run_directory))


def reads_fifos(pid: int) -> bool:
    try:
        return any(".fifo" in str(fd.readlink()) for fd in Path(f"/proc/{pid}/fd").iterdir())
    except FileNotFoundError:
        return False  # it has ended, or closed one, meanwhile


def kill_all(outputs: Outputs) -> None:
    """Stopped first, neither makes the other again meanwhile."""
    for number in (signal.SIGSTOP, signal.SIGKILL):
        for pid in pids(outputs):
            os.kill(pid, number)
    wait_until("their end", lambda: not pids(outputs))


def left(outputs: Outputs) -> set[str]:
    return {path.name for path in outputs.run_directory.iterdir()} - {"logger.lock"}


async def test_a_log_goes_on_over_restarts_of_who_writes_and_who_keeps(tmp_path: Path) -> None:
    outputs = Outputs(tmp_path / "logs", tmp_path / "run")
    fifo = await outputs.open("c1")
    try:
        log = outputs.log("c1")
        fifo.write_text("one\n")
        wait_until("a line", lambda: log.exists() and log.read_text() == "one\n")
        first = working(outputs)
        assert await outputs.open("c1") == fifo
        assert working(outputs) == first, "it goes on"
        kill_all(outputs)
        await outputs.open("c1")
        fifo.write_text("two\n")
        wait_until("both lines", lambda: log.read_text() == "one\ntwo\n")
        assert list(outputs.abandoned({"c1"})) == []
        assert list(outputs.abandoned(set())) == [], "its creator lives"
    finally:
        await outputs.close("c1", keep=True)
    assert read_end(log, 100) == b"one\ntwo\n"
    assert not left(outputs), "who has nothing to write has left"
    await outputs.close("c1")
    assert not list((tmp_path / "logs").iterdir())


async def test_one_process_writes_all_and_the_next_run_starts_it_again(tmp_path: Path) -> None:
    outputs = Outputs(tmp_path / "logs", tmp_path / "run")
    names = [f"c{number}" for number in range(12)]
    try:
        async with trio.open_nursery() as nursery:
            for name in names:
                nursery.start_soon(outputs.open, name)
        with outputs.fifo("c0").open("r+b", buffering=0) as shim:  # it holds both ends too
            kill_all(outputs)
            shim.write(b"said meanwhile\n")
            await outputs.ensure_read()
            wait_until("it", lambda: read_end(outputs.log("c0"), 99) == b"said meanwhile\n")
        outputs.fifo("c11").write_text("last\n")
        await outputs.close("c11", keep=True)
        assert read_end(outputs.log("c11"), 99) == b"last\n", "written before the answer"
    finally:
        for name in names:
            await outputs.close(name)
    assert not left(outputs), "who has nothing to write has left"


async def test_one_that_was_killed_and_listens_still_is_not_taken_for_one_that_reads(
    tmp_path: Path,
) -> None:
    outputs = Outputs(tmp_path / "logs", tmp_path / "run")
    fifo = await outputs.open("c1")
    try:
        with fifo.open("r+b", buffering=0) as shim, socket.socket(socket.AF_UNIX) as dying:
            kill_all(outputs)
            (tmp_path / "run/logger.sock").unlink()
            dying.bind(str(tmp_path / "run/logger.sock"))
            dying.listen()
            shim.write(b"said meanwhile\n")
            async with trio.open_nursery() as nursery:
                nursery.start_soon(outputs.ensure_read)
                await trio.lowlevel.wait_readable(dying)
                dying.close()
            wait_until("it", lambda: read_end(outputs.log("c1"), 99) == b"said meanwhile\n")
    finally:
        await outputs.close("c1")


async def test_whichever_is_killed_no_container_waits_for_its_log(tmp_path: Path) -> None:
    """It prints more than a pipe holds after each kill, and its last line is kept."""
    outputs = Outputs(tmp_path / "logs", tmp_path / "run")
    await outputs.open("c1", max_bytes=8 << 20)
    try:
        with outputs.fifo("c1").open("r+b", buffering=0) as shim:
            for number, is_working in enumerate((True, False, True, True, False)):
                first = working(outputs)
                (other,) = pids(outputs) - {first}
                killed = first if is_working else other
                os.kill(killed, signal.SIGKILL)
                last = f"{number} of all\n".encode()
                with trio.fail_after(20):
                    await trio.to_thread.run_sync(_print_all, shim, b"x" * 99 + b"\n", last)
                wait_until("it", partial(_ends_with, outputs, last))
                wait_until("its end", lambda pid=killed: pid not in pids(outputs))  # type: ignore[misc]  # a default argument binds pid
    finally:
        await outputs.close("c1")
    wait_until("their end", lambda: not pids(outputs))
    assert not left(outputs), "who has nothing to write has left"


def _ends_with(outputs: Outputs, last: bytes) -> bool:
    return read_end(outputs.log("c1"), len(last)) == last


def _print_all(shim: io.FileIO, line: bytes, last: bytes) -> None:
    for _ in range(40):
        block = memoryview(line * 100)  # of 400 kB in all
        while block:
            block = block[shim.write(block) :]
    shim.write(last)


async def test_an_older_program_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outputs = Outputs(tmp_path / "logs", tmp_path / "run")
    fifo = await outputs.open("c1")
    working(outputs)
    older = pids(outputs)
    monkeypatch.setattr(reaching, "version", lambda: "newer")
    try:
        await outputs.open("c2")
        wait_until("their end", lambda: not older & pids(outputs))
        fifo.write_text("on\n")
        wait_until("the line", lambda: read_end(outputs.log("c1"), 9) == b"on\n")
    finally:
        await outputs.close("c1")
        await outputs.close("c2")


async def test_one_that_cannot_be_read_is_told_and_hinders_no_other(tmp_path: Path) -> None:
    outputs = Outputs(tmp_path / "logs", tmp_path / "run")
    await outputs.open("c1")
    try:
        (outputs.run_directory / "c2.kept").write_text("cut o")
        with pytest.raises(HostError, match=r"log of c2 cannot be kept") as caught:
            await reaching.ask(outputs.run_directory, "open", "c2")
        assert "JSONDecodeError" in str(caught.value.hint)
        with socket.socket(socket.AF_UNIX) as silent:  # who connects and says nothing
            silent.connect(str(outputs.run_directory / "logger.sock"))
            outputs.fifo("c1").write_text("one\n")
            await outputs.close("c1", keep=True)
        assert read_end(outputs.log("c1"), 9) == b"one\n"
    finally:
        await outputs.close("c1")


_STARTS = """
import sys, trio
from pathlib import Path
from kled_provider.kata.output.keeping import Outputs
trio.run(Outputs(Path(sys.argv[1], "logs"), Path(sys.argv[1], "run")).open, "c1")
"""


async def test_it_outlives_who_started_it(tmp_path: Path) -> None:
    root = Path(__file__).parents[4]
    subprocess.run([sys.executable, "-c", _STARTS, str(tmp_path)], check=True, cwd=root)
    outputs = Outputs(tmp_path / "logs", tmp_path / "run")
    try:
        outputs.fifo("c1").write_text("after\n")
        wait_until("the line", lambda: read_end(outputs.log("c1"), 9) == b"after\n")
        assert list(outputs.abandoned({"c1"})) == [], "its container lives"
        assert list(outputs.abandoned(set())) == ["c1"]
    finally:
        await outputs.close("c1")
    assert not left(outputs), "who has nothing to write has left"


def test_the_end_of_a_log_reaches_into_the_one_before(tmp_path: Path) -> None:
    (tmp_path / "log.1").write_bytes(b"12345")
    (tmp_path / "log").write_bytes(b"678")
    assert read_end(tmp_path / "log", 5) == b"45678"
    assert read_end(tmp_path / "log", 3) == b"678"
    assert read_end(tmp_path / "log", 100) == b"12345678"
    assert read_end(tmp_path / "none", 5) is None
