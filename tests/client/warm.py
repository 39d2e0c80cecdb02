"""`kled` in a process that has imported it already: a command is a fork(2) there, not a start.

The start of Python and the imports take 0.3 s of a core, thirty times what most commands take
after them. All else is as in a process of its own: arguments, environment, directory, descriptors,
the exit code, and what the interpreter does at its end, but for taking its modules apart. Run as a
program, this file is that process.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import json
import os
import pkgutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, Any, Never

ROOT = Path(__file__).parents[2]
# What commands load late, with what it imports; before them, all of `kled_client`.
_LATE = (
    "anyio", "asyncssh", "certifi", "difflib", "encodings.idna", "h11", "httpcore",
    "rich._emoji_codes", "rich.progress", "rich.table", "trio_asyncio",
)  # fmt: skip
_REQUEST_MAX_BYTES = 1 << 17


class WarmKled:
    """Runs one command after another. Close it to end the process."""

    def __init__(self) -> None:
        self._link, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with far:
            self._process = subprocess.Popen(
                [sys.executable, "-P", __file__, str(far.fileno())],
                pass_fds=[far.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                start_new_session=True,
                env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "LANG": "C.UTF-8"},
            )

    def run(
        self,
        words: tuple[str, ...],
        env: Mapping[str, str],
        *,
        cwd: Path | None = None,
        stdin: int | IO[bytes] = subprocess.DEVNULL,
        input: bytes = b"",  # noqa: A002  # as subprocess.run names it
        timeout_s: float = 60.0,
    ) -> subprocess.CompletedProcess[bytes]:
        """As subprocess.run(capture_output=True); with `input` there is no `stdin`."""
        request = {"words": words, "env": dict(env), "cwd": str(cwd or Path.cwd())}
        out, out_end = os.pipe()
        err, err_end = os.pipe()
        with ThreadPoolExecutor(3) as pool:
            printed, said = pool.submit(_read_all, out), pool.submit(_read_all, err)
            ends = [_descriptor(stdin), out_end, err_end]
            if input:
                ends[0], into = os.pipe()
                pool.submit(_write_all, into, input)
            socket.send_fds(self._link, [json.dumps(request).encode()], ends)
            for end in ends:
                os.close(end)
            self._link.settimeout(timeout_s)
            try:
                code = int(self._link.recv(16))
            except TimeoutError:
                self.close()
                raise
            return subprocess.CompletedProcess(words, code, printed.result(), said.result())

    def close(self) -> None:
        """End the process, and with it what runs in it."""
        self._link.close()
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


def _descriptor(stdin: int | IO[bytes]) -> int:
    if stdin == subprocess.DEVNULL:
        return os.open(os.devnull, os.O_RDONLY)
    return os.dup(stdin if isinstance(stdin, int) else stdin.fileno())


def _read_all(descriptor: int) -> bytes:
    with open(descriptor, "rb") as pipe:
        return pipe.read()


def _write_all(descriptor: int, data: bytes) -> None:
    with open(descriptor, "wb") as pipe:
        pipe.write(data)


def _serve(link: socket.socket) -> None:
    import kled_client  # noqa: PLC0415  # in this process alone

    # First, since it hides from httpx what that would import besides.
    importlib.import_module("kled_client.api.lean_httpx")
    for module in pkgutil.walk_packages(kled_client.__path__, "kled_client."):
        if not module.name.endswith(".__main__"):
            importlib.import_module(module.name)
    for name in _LATE:
        importlib.import_module(name)
    gc.collect()
    gc.freeze()
    while True:
        data, descriptors, _, _ = socket.recv_fds(link, _REQUEST_MAX_BYTES, 3)
        if not data:
            return
        if (child := os.fork()) == 0:
            link.close()
            _become(json.loads(data), descriptors)
        for descriptor in descriptors:
            os.close(descriptor)
        _, status = os.waitpid(child, 0)
        link.send(str(os.waitstatus_to_exitcode(status)).encode())


def _become(request: dict[str, Any], descriptors: list[int]) -> Never:
    for number, descriptor in enumerate(descriptors):
        os.dup2(descriptor, number)
        os.close(descriptor)
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["env"])
    time.tzset()
    sys.argv[:] = ["kled", *request["words"]]
    _end(importlib.import_module("kled_client.__main__").main())


def _end(code: int) -> Never:
    """As the interpreter ends; its modules are not taken apart, which takes 30 ms after a fork."""
    for thread in threading.enumerate():
        if not (thread.daemon or thread is threading.current_thread()):
            thread.join()
    atexit._run_exitfuncs()
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except (OSError, ValueError):
        sys.exit(code)  # what the interpreter says and does about that
    os._exit(code)


if __name__ == "__main__":
    _serve(socket.socket(fileno=int(sys.argv[1])))
