"""Run a benchmark so that nothing of it outlives it, however it or this program ends."""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import shutil
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable
from types import FrameType
from typing import NoReturn

import psutil

# What it has for its own cleaning up (network namespaces), before the rest is killed.
ENDED_S = 15
_PR_SET_CHILD_SUBREAPER = 36  # <sys/prctl.h>
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def run_alone(work: Callable[[], int]) -> int:
    """Run `work` in a process of its own; the exit code of that, or 128 and the signal's number.

    A keeper stands between: orphans of `work` become its children (prctl(2),
    PR_SET_CHILD_SUBREAPER), and it ends them all, and removes the temporary files, when `work` has
    ended or we have, were it by SIGKILL.
    """
    reader, writer = os.pipe()
    keeper = os.fork()
    if keeper == 0:
        os.close(writer)
        _keep(work, reader)
    os.close(reader)
    got: list[int] = []

    def stop(number: int, _frame: FrameType | None) -> None:
        if not got:
            os.close(writer)  # the keeper reads the end
        got.append(number)

    for number in _SIGNALS:
        signal.signal(number, stop)
    _, status = os.waitpid(keeper, 0)
    return 128 + got[0] if got else os.waitstatus_to_exitcode(status)


def _keep(work: Callable[[], int], ended: int) -> NoReturn:
    os.setsid()
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    directory = tempfile.mkdtemp(prefix="kled-bench-")
    worker = os.fork()
    if worker == 0:
        os.close(ended)
        _work(work, directory)
    code = _wait(worker, ended)
    _end_all()
    shutil.rmtree(directory, ignore_errors=True)
    os._exit(code)


def _work(work: Callable[[], int], directory: str) -> NoReturn:
    for number in _SIGNALS:
        signal.signal(number, lambda number, _frame: sys.exit(128 + number))
    tempfile.tempdir = os.environ["TMPDIR"] = directory
    code = 1
    try:
        code = work()
    except SystemExit as exc:
        code = exc.code if isinstance(exc.code, int) else 2
        if isinstance(exc.code, str):
            print(f"error: {exc.code}", file=sys.stderr)
    except BaseException:  # noqa: BLE001 - as the interpreter does with a program's last one
        traceback.print_exc()
    finally:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError):
                stream.flush()
        os._exit(code)


def _wait(worker: int, ended: int) -> int:
    """The worker's exit code, once it is there; it is asked to end when we are told."""
    handle = os.pidfd_open(worker)
    if ended in select.select([ended, handle], [], [])[0]:
        os.kill(worker, signal.SIGTERM)
        if not select.select([handle], [], [], ENDED_S)[0]:
            os.kill(worker, signal.SIGKILL)
    code = os.waitstatus_to_exitcode(os.waitpid(worker, 0)[1])
    return code if code >= 0 else 128 - code


def _end_all() -> None:
    """Kill what is left; killing a parent brings its children to us, so look again."""
    while left := psutil.Process().children(recursive=True):
        for process in left:
            with contextlib.suppress(psutil.Error):
                process.kill()
        with contextlib.suppress(ChildProcessError):
            os.waitpid(-1, 0)
