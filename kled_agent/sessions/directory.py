"""The named sessions of this agent: finds, starts, lists, renames and ends them.

A session is a directory below `state_dir/sessions` with a live holder (`holder/process.py`). There
is no other record: an agent that starts sees what an earlier one left, whatever became of that.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import trio

from kled_agent.machine.descendants import kill_tree, start_mark
from kled_agent.machine.orphans import Children
from kled_agent.sessions.holder.frames import Frame, Kill, Refused, Rename, SessionStatus, Stat
from kled_agent.sessions.holder.lifetime import SizePolicy
from kled_agent.sessions.holder.link import HolderLink, open_link, start_holder
from kled_agent.sessions.holder.place import AGENT_LOCK, RECORD
from kled_agent.sessions.holder.shell import ShellJob
from kled_wire.errors import ConflictError, KledError, LimitError, NotFoundError, UnavailableError
from kled_wire.eventlog import EventLog
from kled_wire.names import check_name
from kled_wire.trees import discard_tree

# How long holders get to end their sessions when the workspace stops; they need two seconds.
END_S: Final = 4.0
_LOOK_S: Final = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionSettings:
    """The agent's settings for named sessions; zero switches a time limit off."""

    directory: Path
    size: SizePolicy = "latest"
    idle_s: float = 0
    orphan_s: float = 3600
    limit: int = 32
    ring_bytes: int = 8 * 1024 * 1024
    # How often a holder looks at the limits, and whether its directory and an agent are there.
    tick_s: float = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """A session whose holder is alive."""

    name: str
    pid: int
    mark: str
    directory: Path

    def alive(self) -> bool:
        """Whether the holder still is that process."""
        return _is_alive(self.pid, self.mark)


@dataclass(slots=True)
class SessionDirectory:
    """All named sessions. Make it with `open_sessions`."""

    settings: SessionSettings
    children: Children
    log: EventLog
    _starting: dict[str, trio.Lock] = field(default_factory=dict)
    _lock: int = -1

    def open(self) -> None:
        """Make the directory, say that an agent is there, and clear away what has died.

        Raises OSError.
        """
        self.settings.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock = os.open(self.settings.directory / AGENT_LOCK, os.O_RDWR | os.O_CREAT, 0o600)
        # Holders look by trying the exclusive lock, for a moment.
        fcntl.flock(self._lock, fcntl.LOCK_SH)
        for held in self.living():
            self.log.info("session_adopted", session=held.name, pid=held.pid)

    def close(self) -> None:
        """No agent is there any more."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def living(self) -> list[Held]:
        """Sessions with a live holder, by name; directories of dead ones are removed."""
        found = []
        for directory in self._directories():
            held = _read_record(directory)
            if held is not None and held.alive():
                found.append(held)
            elif directory.name not in self._starting:
                discard_tree(directory)
                self.log.info("session_found_dead", session=directory.name)
        return sorted(found, key=lambda held: held.name)

    def _directories(self) -> Iterator[Path]:
        try:
            entries = list(self.settings.directory.iterdir())
        except OSError:
            return
        yield from (entry for entry in entries if entry.is_dir())

    def find(self, name: str) -> Held:
        """The session of that name. Raises NotFoundError("session_not_found") and InputError."""
        check_name("session", name)
        held = _read_record(self.settings.directory / name)
        if held is None or not held.alive():
            raise NotFoundError(
                "session_not_found",
                f"there is no session {name} here",
                hint="kled session list WORKSPACE shows them",
            )
        return held

    async def find_or_start(self, name: str, shell: ShellJob) -> tuple[Held, bool]:
        """The session of that name, and whether it is new. Raises LimitError, UnavailableError."""
        check_name("session", name)
        lock = self._starting.setdefault(name, trio.Lock())
        try:
            async with lock:
                try:
                    return self.find(name), False
                except NotFoundError:
                    return await self._start(name, shell), True
        finally:
            if not lock.statistics().tasks_waiting:
                self._starting.pop(name, None)

    async def _start(self, name: str, shell: ShellJob) -> Held:
        if len(self.living()) >= self.settings.limit:
            raise LimitError(
                "too_many_sessions",
                f"there are {self.settings.limit} named sessions here, which is the limit",
                hint="kled session kill WORKSPACE NAME ends one",
            )
        directory = self.settings.directory / name
        try:
            discard_tree(directory)
            directory.mkdir(mode=0o700)
        except OSError as exc:
            raise UnavailableError("session_not_started", f"{directory}: {exc.strerror}") from exc
        said = await start_holder(self._job(name, directory, shell), self.children)
        self.log.info("session_started", session=name, pid=said["pid"])
        return self.find(name)

    def _job(self, name: str, directory: Path, shell: ShellJob) -> Mapping[str, Any]:
        return {
            "name": name,
            "directory": str(directory),
            "size_policy": self.settings.size,
            "ring_bytes": self.settings.ring_bytes,
            "idle_s": self.settings.idle_s,
            "orphan_s": self.settings.orphan_s,
            "tick_s": self.settings.tick_s,
            "shell": asdict(shell),
        }

    async def list(self) -> list[SessionStatus]:
        """What each session is like now; one that ends meanwhile is left out."""
        found = []
        for held in self.living():
            try:
                answer = await self._ask(held, Stat())
            except KledError as exc:
                self.log.info("session_silent", session=held.name, reason=exc.message)
                continue
            if isinstance(answer, SessionStatus):
                found.append(answer)
        return found

    async def kill(self, name: str) -> None:
        """End a session and wait until it is gone. Raises NotFoundError, UnavailableError."""
        held = self.find(name)
        await self._ask(held, Kill())
        with trio.move_on_after(END_S):
            while held.alive():  # noqa: ASYNC110 - not our child, so nothing tells us
                await trio.sleep(_LOOK_S)
        if held.alive():
            kill_tree(held.pid)
        self.log.info("session_killed", session=name)

    async def rename(self, name: str, to: str) -> None:
        """Give a session another name. Raises NotFoundError, ConflictError, UnavailableError."""
        held = self.find(name)
        check_name("session", to)
        answer = await self._ask(held, Rename(name=to))
        if isinstance(answer, Refused) and answer.code == "session_exists":
            raise ConflictError("session_exists", f"there is a session {to} already")
        if isinstance(answer, Refused):
            raise UnavailableError("session_not_renamed", answer.message)
        self.log.info("session_renamed", session=name, to=to)

    async def _ask(self, held: Held, frame: Frame) -> Frame:
        try:
            async with open_link(held.directory) as link:
                return await link.ask(frame)
        except OSError as exc:
            raise UnavailableError(
                "session_silent", f"session {held.name}: {exc.strerror}"
            ) from exc

    def link(self, held: Held) -> Any:
        """A connection to the session's holder, as a context manager of HolderLink."""
        return open_link(held.directory)

    def end_all(self) -> None:
        """The workspace stops: end every session, also those of earlier agents. Blocks."""
        left = self.living()
        for held in left:
            _signal(held, signal.SIGTERM)
        deadline = time.monotonic() + END_S
        while left and time.monotonic() < deadline:
            time.sleep(_LOOK_S)
            left = [held for held in left if held.alive()]
        for held in left:
            kill_tree(held.pid)


def _signal(held: Held, number: int) -> None:
    try:
        os.kill(held.pid, number)
    except ProcessLookupError:
        return  # it has just ended


def _read_record(directory: Path) -> Held | None:
    try:
        table = json.loads((directory / RECORD).read_bytes())
        return Held(
            name=directory.name,
            pid=int(table["pid"]),
            mark=str(table["mark"]),
            directory=directory,
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None  # half made, half removed, or not ours


def _is_alive(pid: int, mark: str) -> bool:
    """Where the system has no marks, only whether there is such a process."""
    if mark:
        return start_mark(pid) == mark
    try:
        os.kill(pid, 0)
    except OSError:
        return False
    return True


__all__ = ["Held", "HolderLink", "SessionDirectory", "SessionSettings"]
