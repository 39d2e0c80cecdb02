"""Starts a program as the user that a container's image names, in a session of its own.

By fork(2) and exec(2), as the process has one thread: `subprocess` would stay in memory for it.
"""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, NoReturn

from kled_agent.supervisor.job import DEFAULT_PATH, SupervisedProgram
from kled_wire.errors import ConfigError

NOT_FOUND: Final = 127  # as a shell has them
NOT_STARTED: Final = 126
_USERS: Final = "/etc/passwd"
_GROUPS: Final = "/etc/group"


class NotStartedError(Exception):
    """A program could not be started. `code` is the exit code that says so."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """A user of the container, by number."""

    uid: int
    gid: int
    groups: tuple[int, ...]
    home: str


def find_account(user: str, passwd: str, group: str) -> Account:
    """Find the `USER` of an image in the texts of passwd(5) and group(5). Raises ConfigError.

    A number needs no entry. Without a group the user's own counts, and all that list the user.
    """
    name, _, group_name = user.partition(":")
    entries = [line.split(":") for line in passwd.splitlines() if line.count(":") == 6]
    entry = next((e for e in entries if e[0] == name), None)
    if entry is None and name.isdecimal():
        entry = next((e for e in entries if e[2] == name), [name, "", name, "0", "", "/", ""])
    if entry is None or not entry[2].isdecimal():
        raise ConfigError("supervisor_user_unknown", f"there is no user {name!r} in {_USERS}")
    lines = [line.split(":") for line in group.splitlines() if line.count(":") == 3]
    if group_name:
        gid, listed = _find_group(group_name, lines), []
    else:
        gid = int(entry[3]) if entry[3].isdecimal() else 0
        listed = [g[2] for g in lines if entry[0] in g[3].split(",") and g[2].isdecimal()]
    groups = tuple(map(int, listed))
    return Account(uid=int(entry[2]), gid=gid, groups=groups, home=entry[5] or "/")


def _find_group(name: str, lines: list[list[str]]) -> int:
    found = next((g[2] for g in lines if g[0] == name), name)
    if not found.isdecimal():
        raise ConfigError("supervisor_user_unknown", f"there is no group {name!r} in {_GROUPS}")
    return int(found)


def start(program: SupervisedProgram) -> int:
    """Start a program; returns its process id. Raises NotStartedError."""
    try:
        account = (
            find_account(program.user, _text(_USERS), _text(_GROUPS)) if program.user else None
        )
    except ConfigError as error:
        raise NotStartedError(error.message, NOT_STARTED) from error
    reader, writer = os.pipe()  # closed by exec: end of file without a word means success
    pid = os.fork()
    if pid == 0:
        _become(program, account, writer)
    os.close(writer)
    with os.fdopen(reader, "rb") as answer:
        said = answer.read().decode(errors="replace")
    if said:
        os.waitpid(pid, 0)
        code, _, why = said.partition(" ")
        raise NotStartedError(f"cannot start {program.argv[0]}: {why}", int(code))
    return pid


def _text(path: str) -> str:
    """An image need not have them, and they are nobody's but its own to write."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:  # noqa: PTH123 - at start-up
            return file.read()
    except OSError:
        return ""


def _become(program: SupervisedProgram, account: Account | None, writer: int) -> NoReturn:
    """Turn this process into the program."""
    try:
        os.setsid()
        env = dict(program.env)
        if account is not None:
            env.setdefault("HOME", account.home)
            if account.uid != os.getuid() or account.gid != os.getgid():
                os.setgroups(account.groups)
                os.setgid(account.gid)
                os.setuid(account.uid)
        os.chdir(program.cwd)
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, 0)
        for number in signal.valid_signals():
            # A signal that the runtime, Python or we ignore would stay ignored in the program.
            with suppress(OSError, ValueError):  # SIGKILL, SIGSTOP
                signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        env.setdefault("PATH", DEFAULT_PATH)
        os.execvpe(program.argv[0], program.argv, env)  # noqa: S606 - no shell on purpose
    except OSError as error:
        code = NOT_FOUND if isinstance(error, FileNotFoundError) else NOT_STARTED
        os.write(writer, f"{code} {error.strerror}".encode())
    finally:
        os._exit(NOT_STARTED)
