"""Starts one process that outlives this one, then exits: run as `python -I -S launcher.py`.

Reads a JSON object from standard input: argv, wrapper (what comes before it and confines it, or
nothing), makes (directories to make for it), env, cwd, log (path), record (path), fingerprint,
generation, agent_id, lock (a descriptor that is kept until the record is written, whoever dies
meanwhile), and uid, gid, groups when the user changes. The process gets its own session, /dev/null
as standard input and the log as output. Before it becomes the program it writes the record, so that
whoever dies meanwhile, the process can be found again. Answers with one JSON object on standard
output: `{}` or `{"error": ...}`.

Forked twice, so that init reaps the process and not the coordinator, which may be restarted. Only
the standard library, and little of it: this runs in about 20 ms.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from typing import Any

# Signals that end a group, or tell an agent to hand over.
_FOR_THE_PROGRAM = (
    signal.SIGHUP,
    signal.SIGINT,
    signal.SIGQUIT,
    signal.SIGTERM,
    signal.SIGUSR1,
    signal.SIGUSR2,
)
# Run inside the wrapper: it ignores them, and its children would. Python ignores two more.
_INSIDE = (
    "import os, signal, sys\n"
    f"for number in {[*map(int, _FOR_THE_PROGRAM), int(signal.SIGPIPE), int(signal.SIGXFSZ)]}:\n"
    "    signal.signal(number, signal.SIG_DFL)\n"
    "os.execvp(sys.argv[1], sys.argv[1:])\n"
)


def start_mark(pid: int) -> str | None:
    """Return what tells this process from a later one with the same pid; None if it is dead.

    On Linux the boot and the start time in clock ticks since then (proc(5), field 22 of stat),
    elsewhere what `ps` prints. A zombie is dead.
    """
    if sys.platform != "linux":
        return _start_mark_by_ps(pid)
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:  # noqa: PTH123
            stat = file.read()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The command name may hold spaces and brackets; the fields behind its last bracket do not.
    fields = stat.rpartition(")")[2].split()
    state, start = fields[0], fields[19]
    return None if state in "ZXx" else f"{_boot_id()}:{start}"


def _boot_id() -> str:
    """Return what tells this boot from others; empty in sandboxes that do not say."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:  # noqa: PTH123
            return file.read().strip()
    except OSError:
        return ""


def _start_mark_by_ps(pid: int) -> str | None:
    import subprocess  # noqa: PLC0415  # half of what the rest takes

    command = ["/bin/ps", "-o", "state=,lstart=", "-p", str(pid)]
    found = subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    state, _, start = found.partition(" ")
    return None if not found or state.startswith("Z") else start.strip()


def _become(job: dict[str, Any]) -> None:
    """Turn this process into the program. Returns never; raises OSError."""
    os.setsid()
    os.umask(0o077)
    null = os.open(os.devnull, os.O_RDONLY)
    log = os.open(job["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)
    os.dup2(null, 0)
    os.dup2(log, 1)
    os.dup2(log, 2)
    write_record(
        job["record"],
        {
            "pid": os.getpid(),
            "start_mark": start_mark(os.getpid()),
            "started_at": time.time(),
            "fingerprint": job["fingerprint"],
            "generation": job["generation"],
            "agent_id": job["agent_id"],
            "log_start": os.fstat(log).st_size,
        },
    )
    os.set_inheritable(job["lock"], False)  # exec gives it back
    if job["uid"] is not None:
        os.setgroups(job["groups"])
        os.setgid(job["gid"])
        os.setuid(job["uid"])
    for directory in job["makes"]:
        os.makedirs(directory, mode=0o700, exist_ok=True)  # noqa: PTH103 - as below
    os.chdir(job["cwd"])
    # Python ignores two of these, our starter perhaps the third; the program would go on so.
    for number in (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)
    os.umask(0o022)
    argv = job["argv"]
    if job["wrapper"]:
        # The signals reach the whole group, and the wrapper would end at once, with the program.
        for number in _FOR_THE_PROGRAM:
            signal.signal(number, signal.SIG_IGN)
        argv = [*job["wrapper"], sys.executable, "-I", "-S", "-c", _INSIDE, *argv]
    os.execvpe(argv[0], argv, job["env"])  # noqa: S606 - no shell on purpose


def write_record(path: str, record: dict[str, Any]) -> None:
    """Put a record in its place, whole or not at all. Raises OSError."""
    draft = path + ".new"
    fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    try:
        with os.fdopen(fd, "w", encoding="utf-8") as file:
            json.dump(record, file)
        os.replace(draft, path)  # noqa: PTH105 - pathlib costs 10 ms of start time
    except BaseException:
        os.unlink(draft)  # noqa: PTH108 - as above
        raise


def main() -> None:
    """Start the process and say how it went."""
    job = json.load(sys.stdin)
    reader, writer = os.pipe()  # closed by exec: end of file without a word means success
    orphaned, orphan = os.pipe()
    between = os.fork()
    if between == 0:
        os.close(orphan)
        if os.fork() == 0:
            os.close(reader)
            os.read(orphaned, 1)
            os.close(orphaned)
            try:
                _become(job)
            except OSError as error:
                os.write(writer, str(error).encode())
            os._exit(127)
        os._exit(0)
    os.waitpid(between, 0)
    # From now on init is its parent: a wrapper that ends with its parent does not end with us.
    os.close(orphan)
    os.close(writer)
    with os.fdopen(reader, encoding="utf-8") as answers:
        problem = answers.read()
    if problem and os.path.exists(job["record"]):  # noqa: PTH110 - as above
        os.unlink(job["record"])  # noqa: PTH108
    json.dump({"error": problem} if problem else {}, sys.stdout)


if __name__ == "__main__":
    main()
