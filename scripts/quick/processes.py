"""Start programs so that they end with us, whatever happens."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from quick.containers import clean_up_containers, run_directory
from quick.place import STEP_S, Failed, Place

from kled_provider.kled.processes.launcher import start_mark

ENDED_S = 15  # from SIGTERM to SIGKILL
LOOK_AGAIN_S = 0.05
T = TypeVar("T")


def remember(path: Path, pid: int) -> None:
    path.write_text(json.dumps({"pid": pid, "start_mark": start_mark(pid)}))


def living(record: Path) -> int | None:
    """The pid in a record, while it is still the same process."""
    try:
        saved = json.loads(record.read_bytes())
        pid, mark = int(saved["pid"]), saved["start_mark"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return pid if mark is not None and start_mark(pid) == mark else None


def end_all(records: list[Path]) -> None:
    """End these processes: SIGTERM, then SIGKILL for the whole group."""
    for number, patience in ((signal.SIGTERM, ENDED_S), (signal.SIGKILL, ENDED_S)):
        for record in records:
            pid = living(record)
            if pid is not None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(pid, number)
        deadline = time.monotonic() + patience
        while any(living(record) is not None for record in records):
            if time.monotonic() > deadline:
                break
            time.sleep(LOOK_AGAIN_S)


def clean_up(place: Place) -> None:
    """End what an earlier or this run left, and forget its data. Safe at any moment."""
    end_all([place.coordinator])
    end_all([p for p in place.data.glob("processes/**/*.json") if p.is_file()])
    # What writes containers' logs has the same record.
    end_all(list(run_directory(place).glob("outputs/*.json")))
    clean_up_containers(place)
    place.coordinator.unlink(missing_ok=True)
    for path in (place.data, place.scratch, place.state / "config"):
        shutil.rmtree(path, ignore_errors=True)


@contextlib.contextmanager
def guard(place: Place) -> Iterator[None]:
    """A child that cleans up when this process ends without doing so (SIGKILL, a crash)."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(writer)
        os.setsid()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        if not os.read(reader, 1):
            clean_up(place)
        os._exit(0)
    os.close(reader)
    try:
        yield
        os.write(writer, b".")  # whatever was raised instead, the child cleans up
    finally:
        os.close(writer)
        os.waitpid(pid, 0)


@contextlib.contextmanager
def child(argv: list[str], env: dict[str, str], **more: Any) -> Iterator[subprocess.Popen[str]]:
    """A program that runs meanwhile, and is ended with the block."""
    process = subprocess.Popen(argv, env=env, stdin=subprocess.DEVNULL, text=True, **more)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(ENDED_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def read_until(process: subprocess.Popen[str], is_complete: Callable[[str], T | None]) -> T:
    """Read lines until `is_complete` finds something in all of them. Raises Failed.

    A program that says nothing of the kind within STEP_S is ended.
    """
    assert process.stdout is not None
    text = ""
    watchdog = threading.Timer(STEP_S, process.kill)
    watchdog.start()
    try:
        for line in process.stdout:
            text += line
            if (found := is_complete(text)) is not None:
                return found
    finally:
        watchdog.cancel()
    raise Failed(f"{process.args!r} ended or hung, after {text!r}")
