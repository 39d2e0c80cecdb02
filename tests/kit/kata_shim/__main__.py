"""A double of Kata's shim for machines without VMs: containerd-shim-runc-v2 with Kata's manners.

`start` starts the real shim of runc and answers with a socket of its own, which passes everything
on. Of the calls it reads Create: it loads the configuration and refuses what runtime-rs refuses.
Standard library only: containerd starts it once for each container. `install_double` puts it on
containerd's PATH. It says in its log, which is
containerd's, what it is. docs/kata-acceptance.md says what it does not show.

Environment: KATA_SHIM_REAL (the shim to stand before), KATA_SHIM_RUN (instead of /run/kata),
KATA_SHIM_CONFIG (instead of the usual files). containerd hands its own environment down.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

from tests.kit.kata_shim.serving import TASK, TASK_3, Served, serve

VERSION = "Kata Containers containerd shim: id: io.containerd.kata.v2, version: 4.1.0"
WHAT = "this is no Kata: a double of its shim for tests, before containerd-shim-runc-v2"


def main(arguments: list[str]) -> int:
    """Do what containerd asks: start, delete, or say the version."""
    if "--version" in arguments or "-v" in arguments:
        sys.stdout.write(f"{VERSION}, {WHAT}\n")
        return 0
    real = os.environ.get("KATA_SHIM_REAL") or shutil.which("containerd-shim-runc-v2")
    if real is None:
        sys.stderr.write("there is no containerd-shim-runc-v2 on PATH\n")
        return 1
    if arguments[-1:] == ["start"]:
        return start(real, arguments)
    if arguments[-1:] == ["delete"]:
        end_rest(Path(value(arguments, "-bundle") or "."))
    return os.execv(real, [real, *arguments])


def value(arguments: list[str], flag: str) -> str:
    """The value of a flag as Go's `flag` reads it: `-id X`."""
    return arguments[arguments.index(flag) + 1] if flag in arguments else ""


def start(real: str, arguments: list[str]) -> int:
    """Start the real shim and a process of ours before it; prints our address."""
    sys.stdin.buffer.read()  # the runtime's options, which runc's shim does not know
    begun = subprocess.run(
        [real, *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, check=False
    )
    address, service = begun.stdout.decode().strip(), TASK
    if address.startswith("{"):  # the shim of containerd 2 (core/runtime/v2, BootstrapParams)
        address, service = json.loads(address)["address"], TASK_3
    if begun.returncode or not address.startswith("unix://"):
        sys.stdout.write(address)
        return begun.returncode or 1
    bundle, sandbox = Path.cwd(), value(arguments, "-id")
    run = Path(os.environ.get("KATA_SHIM_RUN", "/run/kata")) / sandbox
    run.mkdir(parents=True, exist_ok=True, mode=0o700)
    digest = hashlib.sha256(f"{bundle}{sandbox}".encode()).hexdigest()[:24]
    own = Path(address.removeprefix("unix://")).parent / f"kata-{digest}"
    real_socket = address.removeprefix("unix://")
    served = Served(own=own, real=real_socket, run=run, bundle=bundle, service=service)
    ready, told = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(ready)
        serve_alone(served, told)
    os.close(told)
    if os.read(ready, 1) != b"1":
        sys.stdout.write("the double could not listen")
        return 1
    (bundle / "kata-shim.pids").write_text(f"{pid} {real_pid(real, sandbox)}\n")
    (bundle / "address").write_text(f"unix://{own}")  # containerd reads it after a restart
    sys.stdout.write(f"unix://{own}")
    return 0


def real_pid(real: str, sandbox: str) -> int:
    """The pid of the real shim; it does not write it anywhere."""
    for entry in Path("/proc").glob("[0-9]*"):
        words = command_of(int(entry.name)).split(b"\0")
        if words[0] == real.encode() and sandbox.encode() in words and b"start" not in words:
            return int(entry.name)
    raise RuntimeError("the real shim has ended")


def serve_alone(served: Served, told: int) -> None:
    """Serve in a session of our own, without containerd's pipes; never returns."""
    os.setsid()
    os.set_inheritable(told, False)
    nothing = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nothing, descriptor)
    try:
        serve(served, WHAT, lambda: os.write(told, b"1"))
    except OSError as error:
        served.log(f"it cannot serve: {error}")
    finally:
        os._exit(0)


def end_rest(bundle: Path) -> None:
    """End what a shim that died has left: containerd calls `delete` then."""
    try:
        pids = [int(word) for word in (bundle / "kata-shim.pids").read_text().split()]
    except (OSError, ValueError):
        return
    for pid in pids:
        if b"shim" in command_of(pid):
            os.kill(pid, signal.SIGKILL)


def command_of(pid: int) -> bytes:
    """Its command line, to be sure that the pid is still whom we mean."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
