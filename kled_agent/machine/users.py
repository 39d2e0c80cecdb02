"""The local user that sessions run as: finds it, makes its environment, switches to it."""

from __future__ import annotations

import grp
import json
import os
import pwd
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kled_agent.machine.expanding import expand_path, expand_variables
from kled_agent.machine.login_path import LoginHooks, login_hooks, zsh_directory
from kled_wire.errors import ConfigError

# The PATH of Debian's /etc/login.defs; a login shell's profile adds to it.
DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# Variables that sessions inherit from the agent. By the workspace's id the coordinator finds, on
# its own machine, what a killed agent left behind.
INHERITED = ("LANG", "KLED_WORKSPACE_ID")
_PASSWD_FIELDS = 7  # passwd(5)
_GETENT_S = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalUser:
    """One entry of passwd(5), with its groups.

    `variables` and `start_in` are what the workspace's template adds for sessions, `programs` the
    directories that come last on PATH, and `path_file` what a login shell sources so that they are
    still there ("": nothing). `inherited` is what sessions take over from where the agent began.
    """

    name: str
    uid: int
    gid: int
    groups: tuple[int, ...]
    home: str
    shell: str
    variables: Mapping[str, str] = field(default_factory=dict, hash=False)
    start_in: str = ""
    programs: tuple[str, ...] = ()
    path_file: str = ""
    inherited: Mapping[str, str] = field(default_factory=dict, hash=False)

    @property
    def is_local(self) -> bool:
        """Whether this machine's /etc/passwd has an entry of that id."""
        try:
            pwd.getpwuid(self.uid)
        except KeyError:
            return False
        return True

    @property
    def is_listed(self) -> bool:
        """Whether the machine knows the user at all; else the name is the id."""
        return self.name != str(self.uid)

    def directory(self) -> str:
        """Where sessions begin: `start_in` where that is, else the home directory, else /."""
        wanted = Path(self.home) / expand_path(self.start_in, self.environment())
        return str(wanted) if wanted.is_dir() else self.home_directory()

    def home_directory(self) -> str:
        """The home directory, or / where there is none."""
        return self.home if Path(self.home).is_dir() else "/"

    def environment(self) -> dict[str, str]:
        """What every session's environment begins with."""
        path = _with_our_programs(os.environ.get("PATH") or DEFAULT_PATH)
        inherited = {"PATH": ":".join([path, *self.programs])}
        for name in INHERITED:
            if value := os.environ.get(name):
                inherited[name] = value
        found = {
            **self.inherited,
            **inherited,
            "HOME": self.home,
            "USER": self.name,
            "LOGNAME": self.name,
            "SHELL": self.shell,
        }
        # `$PATH` in a variable is what sessions would have without it.
        said = {name: expand_variables(text, found) for name, text in self.variables.items()}
        return {**found, **said}

    def login_environment(self) -> dict[str, str]:
        """What a login shell's environment begins with: PATH outlives a profile's own."""
        return {**self._hooks().environment, **self.environment()}

    def login_shell(self) -> list[str]:
        """The argument vector of a login shell."""
        # A leading dash makes a login shell, in every shell (login(1)).
        return [f"-{Path(self.shell).name}", *self._hooks().arguments]

    def _hooks(self) -> LoginHooks:
        # Without its file zsh would not read the user's own ones either.
        if not self.path_file or not Path(zsh_directory(self.path_file), ".zshenv").is_file():
            return LoginHooks()
        given = self.environment()
        hooks = login_hooks(self.shell, self.path_file, given["PATH"])
        # If the template sets one of these, its value counts, and nothing would remove KLED_PATH.
        return LoginHooks() if hooks.environment.keys() & given.keys() else hooks

    def popen_options(self) -> Mapping[str, Any]:
        """Arguments of subprocess.Popen that make the child this user; empty if we are already."""
        if os.geteuid() == self.uid:
            return {}
        return {"user": self.uid, "group": self.gid, "extra_groups": list(self.groups)}

    def job(self) -> str:
        """The argument of a program that becomes this user by itself (`become_user`), in JSON."""
        groups = list(self.groups)
        return json.dumps(
            {"uid": self.uid, "gid": self.gid, "groups": groups, "home": self.home_directory()}
        )

    def owns_us(self) -> bool:
        """Whether this process already runs as the user."""
        return os.geteuid() == self.uid


def become_user() -> str:
    """Make this process for good that of the user whom its argument names (`LocalUser.job`).

    Returns the user's home directory. Does nothing else where the process is that user's already.
    Raises OSError.
    """
    job = json.loads(sys.argv[1])
    if os.geteuid() != job["uid"]:
        os.setgroups(job["groups"])
        os.setgid(job["gid"])
        os.setuid(job["uid"])
    return str(job["home"])


def _with_our_programs(path: str) -> str:
    """`path`, and last in it where this agent's programs are, so that `kled` works inside."""
    ours = Path(sys.executable).parent
    # A bundle has nothing there that is for people.
    if str(ours) in path.split(":") or not (ours / "kled").exists():
        return path
    return f"{path}:{ours}"


def load_user(name: str | None, *, shell: str | None = None) -> LocalUser:
    """Look `name` up, or whoever runs this process. Raises ConfigError("user_unknown")."""
    entry = _entry(name)
    if entry is None:
        if name:
            raise ConfigError(
                "user_unknown",
                f"there is no local user {name}",
                hint="set `user` in the agent's configuration to one that exists",
            )
        # An image need not list who runs in it.
        entry = pwd.struct_passwd(
            (str(os.geteuid()), "", os.geteuid(), os.getegid(), "", "/", "/bin/sh")
        )
    if os.geteuid() not in {0, entry.pw_uid}:
        raise ConfigError(
            "user_not_allowed",
            f"sessions cannot run as {entry.pw_name}: the agent is not root",
            hint="run the agent as root or as that user",
        )
    return LocalUser(
        name=entry.pw_name,
        uid=entry.pw_uid,
        gid=entry.pw_gid,
        groups=tuple(_groups(entry)),
        home=entry.pw_dir,
        shell=shell or entry.pw_shell or "/bin/sh",
    )


def _entry(name: str | None) -> pwd.struct_passwd | None:
    """The entry of `name`, or of whoever runs this process; None where there is none."""
    try:
        return pwd.getpwnam(name) if name else pwd.getpwuid(os.geteuid())
    except KeyError:
        return _asked_entry(name or str(os.geteuid()))


def _asked_entry(key: str) -> pwd.struct_passwd | None:
    """An entry that only the machine's own getent(1) finds, as those of LDAP.

    Our C library may be a bundle's, which loads none of the machine's NSS modules.
    """
    fields = _getent("passwd", key).split(":")
    if len(fields) != _PASSWD_FIELDS or not (fields[2].isdigit() and fields[3].isdigit()):
        return None
    name, password, uid, gid, *rest = fields
    return pwd.struct_passwd((name, password, int(uid), int(gid), *rest))


def _groups(entry: pwd.struct_passwd) -> list[int]:
    local = {g.gr_gid for g in grp.getgrall() if entry.pw_name in g.gr_mem}
    # initgroups: the name, then the ids of its groups (getent(1)).
    asked = {int(gid) for gid in _getent("initgroups", entry.pw_name).split()[1:] if gid.isdigit()}
    return sorted({entry.pw_gid, *local, *asked})


def _getent(database: str, key: str) -> str:
    """What getent(1) says of `key`, "" where it knows nothing, is not there or does not answer."""
    try:
        done = subprocess.run(
            ["getent", database, key],
            capture_output=True,
            text=True,
            timeout=_GETENT_S,
            check=False,
            errors="replace",
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip()
