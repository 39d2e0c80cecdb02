"""The processes behind the logs: adopted, started again after a death, and gone at the end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from kled_provider.kata.output.keeping import Outputs, read_end
from kled_provider.kled import processes
from kled_provider.kled.processes import ProcessDirectory
from tests.kit.waiting import wait_until


def pid(outputs: Outputs) -> int:
    running = processes.find(ProcessDirectory(outputs.run_directory, "c1"))
    assert running is not None
    return running.pid


async def test_a_log_goes_on_over_restarts_of_who_writes_and_who_keeps(tmp_path: Path) -> None:
    outputs = Outputs(tmp_path / "logs", tmp_path / "run")
    fifo = await outputs.open("c1")
    try:
        log = outputs.log("c1")
        fifo.write_text("one\n")
        wait_until("a line", lambda: log.exists() and log.read_text() == "one\n")
        first = pid(outputs)
        assert await outputs.open("c1") == fifo
        assert pid(outputs) == first, "adopted"
        os.kill(first, signal.SIGKILL)
        wait_until("its end", lambda: not outputs.is_kept("c1"))
        await outputs.open("c1")
        fifo.write_text("two\n")
        wait_until("both lines", lambda: log.read_text() == "one\ntwo\n")
        assert list(outputs.abandoned({"c1"})) == []
        assert list(outputs.abandoned(set())) == [], "its creator lives"
    finally:
        await outputs.close("c1", keep=True)
    assert read_end(log, 100) == b"one\ntwo\n"
    assert not list((tmp_path / "run").iterdir())
    await outputs.close("c1")
    assert not list((tmp_path / "logs").iterdir())


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
    assert not list((tmp_path / "run").iterdir())


def test_the_end_of_a_log_reaches_into_the_one_before(tmp_path: Path) -> None:
    (tmp_path / "log.1").write_bytes(b"12345")
    (tmp_path / "log").write_bytes(b"678")
    assert read_end(tmp_path / "log", 5) == b"45678"
    assert read_end(tmp_path / "log", 3) == b"678"
    assert read_end(tmp_path / "log", 100) == b"12345678"
    assert read_end(tmp_path / "none", 5) is None
