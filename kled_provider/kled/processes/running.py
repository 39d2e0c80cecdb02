"""Processes that outlive the coordinator: starts, finds and stops them.

A process is known by its name. Its record says pid and start mark (launcher.py), so that a pid
used again by another program is never mistaken for it; the fingerprint of what it was started
with, so that one started otherwise is not adopted; the generation of whoever made or adopted it
last, whose it is; and whether it was told to end. Whoever changes what stands under a name holds
its lock (`hold`).
"""

from __future__ import annotations

import hashlib
import json
import os
import pwd
import signal
import sys
from contextlib import AbstractAsyncContextManager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import trio

from kled_provider.host import HostError
from kled_provider.kled.processes import launcher
from kled_provider.locks import hold_lock

TERMINATE_S = 10.0  # how long a process may take to end by itself
KILL_S = 5.0  # how long the kernel may take to end it
LOOK_AGAIN_S = 0.05  # where the kernel cannot say when a process ends
LAUNCH_S = 30.0
REMOVE_S = 10.0  # of a directory with a few small files
MAX_LOG_BYTES = 8 << 20  # a larger log is moved aside at the next start; one older one is kept
DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessSpec:
    """What to run. `user` None means the current one; `directory` None means its home."""

    argv: tuple[str, ...]
    env: dict[str, str]
    user: str | None = None
    directory: str | None = None
    wrapper: tuple[str, ...] = ()  # comes before `argv`, and confines it
    agent_id: str = ""  # who runs in it

    def fingerprint(self) -> str:
        """Return a digest of all of it; of the wrapper, which varies, only whether there is one."""
        value: list[object] = [self.argv, sorted(self.env.items()), self.user, self.directory]
        if self.wrapper:
            value.append("confined")
        return hashlib.sha256(json.dumps(value).encode()).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A process as its record says. `started_at` is in seconds since the epoch.

    `generation` and `agent_id` are empty where an earlier version started it; `is_ending`: it was
    told to end. What it prints begins in the log at byte `log_start`.
    """

    pid: int
    start_mark: str
    started_at: float
    fingerprint: str
    generation: str = ""
    is_ending: bool = False
    agent_id: str = ""
    log_start: int = 0


@dataclass(frozen=True, slots=True)
class ProcessDirectory:
    """Where a process keeps its record and log: a directory named by the workspace's id."""

    directory: Path
    name: str

    @property
    def record(self) -> Path:
        """The file that says which process it is."""
        return self.directory / f"{self.name}.json"

    @property
    def lock(self) -> Path:
        """The file whose flock(2) is held while what stands under the name changes."""
        return self.directory / f"{self.name}.lock"

    @property
    def log(self) -> Path:
        """What the process prints."""
        return self.directory / f"{self.name}.log"


def hold(place: ProcessDirectory) -> AbstractAsyncContextManager[int]:
    """Hold the lock of a place; gives its descriptor. Raises OSError."""
    return hold_lock(place.lock)


def find(place: ProcessDirectory) -> Running | None:
    """Return the live process of that place; None if there is none."""
    running = recorded(place)
    return running if running is not None and _is_alive(running) else None


def recorded(place: ProcessDirectory) -> Running | None:
    """Return the process of that place, which may have ended; None if there was none."""
    try:
        saved = json.loads(place.record.read_bytes())
        return Running(
            pid=int(saved["pid"]),
            start_mark=str(saved["start_mark"]),
            started_at=float(saved["started_at"]),
            fingerprint=str(saved["fingerprint"]),
            generation=str(saved.get("generation", "")),
            is_ending=bool(saved.get("is_ending", False)),
            agent_id=str(saved.get("agent_id", "")),
            log_start=int(saved.get("log_start", 0)),
        )
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError):
        return None  # cut off by a full disk or edited: nothing to recognise a process by


def _is_alive(running: Running) -> bool:
    return launcher.start_mark(running.pid) == running.start_mark


async def start(
    place: ProcessDirectory, program: ProcessSpec, generation: str, replaced: str = ""
) -> Running:
    """Start the program at `place`; what runs there already is adopted, or ended if it differs.

    What is of the generation `replaced`, if that is not "", is ended in any case. It is of
    `generation` from then on. Raises HostError or OSError. Once begun it is not cancelled half
    way: it takes milliseconds.
    """
    async with hold(place) as lock:
        running = find(place)
        if running is not None and _is_adopted(running, program, replaced):
            running = replace(running, generation=generation, agent_id=program.agent_id)
            launcher.write_record(str(place.record), asdict(running))
            return running
        if running is not None:
            await stop(place, running)
            running = None
        with trio.move_on_after(LAUNCH_S, shield=True) as scope:
            running = await _launch(place, program, generation, lock)
    if running is None or scope.cancelled_caught:
        raise HostError(
            f"Could not start {program.argv[0]} within {LAUNCH_S:.0f} s",
            hint="The machine is overloaded or its disk hangs.",
        )
    return running


def _is_adopted(running: Running, program: ProcessSpec, replaced: str) -> bool:
    if running.is_ending or (replaced and running.generation == replaced):
        return False
    return running.fingerprint == program.fingerprint()


async def _launch(
    place: ProcessDirectory, program: ProcessSpec, generation: str, lock: int
) -> Running:
    if place.log.exists() and place.log.stat().st_size > MAX_LOG_BYTES:
        place.log.replace(place.log.with_suffix(".log.1"))
    command = [sys.executable, "-I", "-S", launcher.__file__]
    # The job goes through a pipe: its environment holds secrets, and arguments are public.
    done = await trio.run_process(
        command,
        stdin=json.dumps({**_job(place, program), "generation": generation, "lock": lock}).encode(),
        env={**os.environ, **_mark(place)},
        pass_fds=(lock,),
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


def home(name: str | None) -> str:
    """The home of a user, as the user's database has it. Raises HostError."""
    return _user(name).pw_dir


def writable(place: ProcessDirectory, name: str | None) -> dict[str, str]:
    """What a confined process of the user may write: paths as it sees them, and where they are.

    A home and a /tmp of its own and the agent's state; another user than ours has its real home.
    Raises HostError.
    """
    user = _user(name)
    other = user if user.pw_uid != os.geteuid() else None
    state = _state_directory(place, other)
    temporary = state / "tmp" if other else place.directory / f"{place.name}.tmp"
    found = {"/tmp": str(temporary), str(state): str(state)}  # noqa: S108 - the path inside
    if user.pw_dir != "/":
        found[user.pw_dir] = user.pw_dir if other else str(place.directory / f"{place.name}.home")
    return found


def _user(name: str | None) -> pwd.struct_passwd:
    try:
        user = pwd.getpwuid(os.geteuid()) if name is None else pwd.getpwnam(name)
    except KeyError as error:
        raise HostError(
            f"There is no user {name or os.geteuid()} on this machine",
            hint="Make the user, or set another one.",
        ) from error
    if user.pw_uid != os.geteuid() and os.geteuid() != 0:
        raise HostError(
            f"Only root may start a process as {user.pw_name}",
            hint="Leave `user` out to run as the coordinator's own user.",
        )
    return user


def _job(place: ProcessDirectory, program: ProcessSpec) -> dict[str, Any]:
    user = _user(program.user)
    changes = user.pw_uid != os.geteuid()
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
        "wrapper": list(program.wrapper),
        "makes": list(writable(place, program.user).values()) if program.wrapper else [],
        "env": {**base, **program.env},
        "cwd": "/" if program.wrapper else _directory(program, user),
        "log": str(place.log),
        "record": str(place.record),
        "fingerprint": program.fingerprint(),
        "agent_id": program.agent_id,
        "uid": user.pw_uid if changes else None,
        "gid": user.pw_gid,
        "groups": os.getgrouplist(user.pw_name, user.pw_gid) if changes else [],
    }


def _directory(program: ProcessSpec, user: pwd.struct_passwd) -> str:
    # System users often have a home that does not exist.
    return program.directory or (user.pw_dir if Path(user.pw_dir).is_dir() else "/")


def _mark(place: ProcessDirectory) -> dict[str, str]:
    """What the workspace's processes are known by, and what they start, whoever dies meanwhile."""
    return {"KLED_WORKSPACE_ID": place.directory.name}


def _state_directory(place: ProcessDirectory, other: pwd.struct_passwd | None) -> Path:
    """Where an agent keeps its identity, which makes it itself, 0700: no two share one."""
    if other is None:
        return place.directory / f"{place.name}.state"
    # The place is closed to another user.
    workspace = place.directory.name
    return Path(other.pw_dir) / ".local/state/kled-agent" / workspace / place.name


async def stop(
    place: ProcessDirectory, running: Running, *, terminate_s: float = TERMINATE_S
) -> None:
    """End the process and its group: SIGTERM, so many seconds, SIGKILL. Raises HostError.

    The caller holds the lock of the place. Cancelled, it leaves the process with the SIGTERM it
    got, and a record that says so: nobody adopts it.
    """
    if _is_alive(running):
        launcher.write_record(str(place.record), asdict(replace(running, is_ending=True)))
        _signal_group(running, signal.SIGTERM)
        with trio.move_on_after(terminate_s):
            await wait_end(running)
        await _kill(running)
    place.record.unlink(missing_ok=True)


async def _kill(running: Running) -> None:
    # Children of a process that has ended may still be there.
    _signal_group(running, signal.SIGKILL)
    with trio.move_on_after(KILL_S):
        await wait_end(running)
    if _is_alive(running):
        raise HostError(
            f"Process {running.pid} does not end",
            hint="It survived SIGKILL, as a process does that waits for a broken disk or mount.",
        )


async def stop_all(directory: Path) -> None:
    """End every process that has its record in `directory`. Raises HostError."""
    for record in sorted(directory.glob("*.json")):  # noqa: ASYNC240 - a few names
        place = ProcessDirectory(directory, record.stem)
        async with hold(place):
            running = find(place)
            if running is not None:
                await stop(place, running)


async def forget_sessions(place: ProcessDirectory, user: str | None) -> None:
    """Remove what an agent keeps of named terminals, after it has ended. Raises OSError.

    An agent that was killed could not end them: who holds one ends when its directory has gone.
    """
    try:
        entry = pwd.getpwnam(user) if user is not None else None
    except KeyError:
        return  # the user is gone, and with it the home where they were
    other = entry if entry is not None and entry.pw_uid != os.geteuid() else None
    if other is None or os.geteuid() == 0:
        await _remove_as(other, _state_directory(place, other) / "sessions")


async def _remove_as(user: pwd.struct_passwd | None, path: Path) -> None:
    """Remove what lies in another user's directory as that user; None: as ourselves.

    The path may hold links to anywhere, and they may change while we look. It may be deeper than
    shutil.rmtree of Python 3.11 and 3.12 can call itself.
    """
    other: dict[str, Any] = {}
    if user is not None:
        other = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
    with trio.move_on_after(REMOVE_S):
        await trio.run_process(
            ["/bin/rm", "-rf", "--", str(path)],
            **other,
            cwd="/",
            env={},
            capture_stderr=True,
            check=False,
        )


def _signal_group(running: Running, number: signal.Signals) -> None:
    try:
        os.killpg(running.pid, number)
    except ProcessLookupError:
        return  # all of it has ended


async def wait_end(running: Running) -> None:
    """Return as soon as the process has ended."""
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
