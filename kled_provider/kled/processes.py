"""Processes that outlive the coordinator: start, find again, stop.

A process is known by its name. Its record says pid and start mark (launcher.py), so that a pid
used again by another program is never mistaken for it, and the fingerprint of what it was started
with, so that one started otherwise is not adopted.
"""

from __future__ import annotations

import hashlib
import json
import os
import pwd
import shutil
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import trio

from kled_provider.host import HostError
from kled_provider.kled import launcher

TERMINATE_S = 10.0  # how long a process may take to end by itself
KILL_S = 5.0  # how long the kernel may take to end it
LOOK_AGAIN_S = 0.05  # where the kernel cannot say when a process ends
LAUNCH_S = 30.0
MAX_LOG_BYTES = 8 << 20  # a larger log is moved aside at the next start; one older one is kept
DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """What to run. `user` None means the current one; `directory` None means its home."""

    argv: tuple[str, ...]
    env: dict[str, str]
    user: str | None = None
    directory: str | None = None

    def fingerprint(self) -> str:
        """Return a digest of all of it."""
        value = [self.argv, sorted(self.env.items()), self.user, self.directory]
        return hashlib.sha256(json.dumps(value).encode()).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A live process. `started_at` is in seconds since the epoch."""

    pid: int
    start_mark: str
    started_at: float
    fingerprint: str


@dataclass(frozen=True, slots=True)
class Place:
    """Where a process keeps its record and log: a directory named by the workspace's id."""

    directory: Path
    name: str

    @property
    def record(self) -> Path:
        """The file that says which process it is."""
        return self.directory / f"{self.name}.json"

    @property
    def log(self) -> Path:
        """What the process prints."""
        return self.directory / f"{self.name}.log"


def find(place: Place) -> Running | None:
    """Return the live process of that place; None if there is none."""
    try:
        saved = json.loads(place.record.read_bytes())
        running = Running(
            pid=int(saved["pid"]),
            start_mark=str(saved["start_mark"]),
            started_at=float(saved["started_at"]),
            fingerprint=str(saved["fingerprint"]),
        )
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError):
        return None  # cut off by a full disk or edited: nothing to recognise a process by
    return running if _is_alive(running) else None


def _is_alive(running: Running) -> bool:
    return launcher.start_mark(running.pid) == running.start_mark


async def start(place: Place, program: Program) -> Running:
    """Start the program at `place`; what runs there already is adopted, or ended if it differs.

    Raises HostError or OSError. Once begun it is not cancelled half way: it takes milliseconds.
    """
    running = find(place)
    if running is not None and running.fingerprint == program.fingerprint():
        return running
    if running is not None:
        await stop(place, running)
        running = None
    with trio.move_on_after(LAUNCH_S, shield=True) as scope:
        running = await _launch(place, program)
    if running is None or scope.cancelled_caught:
        raise HostError(
            f"Could not start {program.argv[0]} within {LAUNCH_S:.0f} s",
            hint="The machine is overloaded or its disk hangs.",
        )
    return running


async def _launch(place: Place, program: Program) -> Running:
    place.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    if place.log.exists() and place.log.stat().st_size > MAX_LOG_BYTES:
        place.log.replace(place.log.with_suffix(".log.1"))
    command = [sys.executable, "-I", "-S", launcher.__file__]
    # The job goes through a pipe: its environment holds secrets, and arguments are public.
    done = await trio.run_process(
        command,
        stdin=json.dumps(_job(place, program)).encode(),
        env={**os.environ, **_mark(place)},
        capture_stdout=True,
        capture_stderr=True,
        check=False,
    )
    if done.returncode == 0:
        problem = json.loads(done.stdout or b"{}").get("error")
    else:
        last_words = (done.stderr or b"").decode("utf-8", "replace").strip().splitlines()[-1:]
        problem = f"The launcher failed: {' '.join(last_words) or done.returncode}"
    if problem:
        raise HostError(f"Could not start {program.argv[0]}", hint=problem)
    running = find(place)
    if running is None:
        raise HostError(
            f"{program.argv[0]} ended at once", hint=f"What it printed is in {place.log}."
        )
    return running


def _job(place: Place, program: Program) -> dict[str, Any]:
    try:
        user = pwd.getpwuid(os.geteuid()) if program.user is None else pwd.getpwnam(program.user)
    except KeyError as error:
        raise HostError(
            f"There is no user {program.user or os.geteuid()} on this machine",
            hint="Make the user, or set another one.",
        ) from error
    changes = user.pw_uid != os.geteuid()
    if changes and os.geteuid() != 0:
        raise HostError(
            f"Only root may start a process as {user.pw_name}",
            hint="Leave `user` out to run as the coordinator's own user.",
        )
    base = {
        "HOME": user.pw_dir,
        "KLED_AGENT_STATE_DIR": str(_state_directory(place, user if changes else None)),
        "LANG": "C.UTF-8",
        "PATH": f"{DEFAULT_PATH}:{Path(sys.executable).parent}",
        "SHELL": user.pw_shell or "/bin/sh",
        "USER": user.pw_name,
        **_mark(place),
    }
    return {
        "argv": list(program.argv),
        "env": {**base, **program.env},
        # System users often have a home that does not exist.
        "cwd": program.directory or (user.pw_dir if Path(user.pw_dir).is_dir() else "/"),
        "log": str(place.log),
        "record": str(place.record),
        "fingerprint": program.fingerprint(),
        "uid": user.pw_uid if changes else None,
        "gid": user.pw_gid,
        "groups": os.getgrouplist(user.pw_name, user.pw_gid) if changes else [],
    }


def _mark(place: Place) -> dict[str, str]:
    """What the workspace's processes are known by, and what they start, whoever dies meanwhile."""
    return {"KLED_WORKSPACE_ID": place.directory.name}


def _state_directory(place: Place, other: pwd.struct_passwd | None) -> Path:
    """Where an agent keeps its identity, which makes it itself, 0700: no two share one."""
    if other is None:
        return place.directory / f"{place.name}.state"
    # The place is closed to another user.
    workspace = place.directory.name
    return Path(other.pw_dir) / ".local/state/kled-agent" / workspace / place.name


async def stop(place: Place, running: Running) -> None:
    """End the process and its group: SIGTERM, TERMINATE_S, SIGKILL. Raises HostError.

    Cancelled, it leaves the process with the SIGTERM it got.
    """
    _signal_group(running, signal.SIGTERM)
    with trio.move_on_after(TERMINATE_S):
        await _wait_end(running)
    # Children of a process that has ended may still be there.
    _signal_group(running, signal.SIGKILL)
    with trio.move_on_after(KILL_S):
        await _wait_end(running)
    if _is_alive(running):
        raise HostError(
            f"Process {running.pid} does not end",
            hint="It survived SIGKILL, as a process does that waits for a broken disk or mount.",
        )
    place.record.unlink(missing_ok=True)


async def stop_all(directory: Path) -> None:
    """End every process that has its record in `directory`. Raises HostError."""
    for record in sorted(directory.glob("*.json")):  # noqa: ASYNC240 - a few names
        place = Place(directory, record.stem)
        running = find(place)
        if running is not None:
            await stop(place, running)


def forget_sessions(place: Place, user: str | None) -> None:
    """Remove what an agent keeps of named terminals, after it has ended.

    An agent that was killed could not end them: who holds one ends when its directory has gone.
    """
    try:
        entry = pwd.getpwnam(user) if user is not None else None
    except KeyError:
        return  # the user is gone, and with it the home where they were
    other = entry if entry is not None and entry.pw_uid != os.geteuid() else None
    shutil.rmtree(_state_directory(place, other) / "sessions", ignore_errors=True)


def _signal_group(running: Running, number: signal.Signals) -> None:
    try:
        os.killpg(running.pid, number)
    except ProcessLookupError:
        return  # all of it has ended


async def _wait_end(running: Running) -> None:
    if sys.platform == "linux":
        try:
            handle = os.pidfd_open(running.pid)
        except ProcessLookupError:
            return
        try:
            # Checked after opening: from here on the handle means this process and no other.
            if _is_alive(running):
                await trio.lowlevel.wait_readable(handle)
        finally:
            os.close(handle)
    else:
        while _is_alive(running):  # noqa: ASYNC110 - not our child, so nothing tells us
            await trio.sleep(LOOK_AGAIN_S)
