"""The `coder` command of a workspace: the subcommands that modules made for Coder call.

It is the last on PATH and has no token. Its units are a file in the agent's directory, under a
lock, which the agent empties when it starts.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from kled_agent.scripts.units import Units

_LOOK_S: Final = 0.2
_START_S: Final = 300.0
_UNITS: Final = "units.json"
_INSTALLERS: Final = (
    *("install.sh", "install", "bootstrap.sh", "bootstrap", "script/bootstrap"),
    *("setup.sh", "setup", "script/setup"),
)


def main(directory: str, words: list[str]) -> int:
    """Do what is asked; returns the exit code. `directory` is the agent's in the workspace."""
    match words:
        case ["stat", *rest]:
            argv = [sys.executable, "-I", "-m", "kled_client", "stat", *rest]
            return subprocess.run(argv, check=False).returncode
        case ["dotfiles", *rest]:
            return _dotfiles(rest)
        case ["exp", "sync", verb, *rest]:
            return _sync(Path(directory) / _UNITS, verb, rest)
        case _:
            asked = " ".join(words[:3]) or "nothing"
            return _fail(f"in a Kled workspace it does stat, dotfiles and exp sync, not {asked}")


def _fail(why: str) -> int:
    print(f"coder: {why}", file=sys.stderr)  # noqa: T201 - the person's line
    return 1


# --- exp sync


def _sync(file: Path, verb: str, words: list[str]) -> int:
    names = [word for word in words if not word.startswith("-")]
    if verb == "ping":
        print("Success")  # noqa: T201
        return 0
    if not names or verb not in _VERBS:
        return _fail(f"exp sync takes ping, {', '.join(_VERBS)} and a unit's name")
    try:
        return _VERBS[verb](file, names)
    except ValueError as exc:
        return _fail(str(exc))


@contextmanager
def _units(file: Path) -> Iterator[Units]:
    """The units, nobody else's meanwhile; what was changed is kept."""
    with file.open("a+", encoding="utf-8") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        handle.seek(0)
        text = handle.read()
        units = Units(json.loads(text) if text else None)
        yield units
        handle.seek(0)
        handle.truncate()
        json.dump(units.to_plain(), handle)


def _want(file: Path, names: list[str]) -> int:
    with _units(file) as units:
        units.want(names[0], names[1:])
    return 0


def _start(file: Path, names: list[str]) -> int:
    """Wait for what the unit wants: other processes say so, so the file is looked at again."""
    name, told, deadline = names[0], False, time.monotonic() + _START_S
    while True:
        with _units(file) as units:
            waits = units.waits_for(name)
            if not waits:
                units.start(name)
                return 0
        if time.monotonic() > deadline:
            raise ValueError(f"{name} still waits for {', '.join(waits)} after {_START_S:.0f} s")
        if not told:
            print(f"{name} waits for {', '.join(waits)}", flush=True)  # noqa: T201
            told = True
        time.sleep(_LOOK_S)


def _complete(file: Path, names: list[str]) -> int:
    with _units(file) as units:
        units.complete(names[0])
    return 0


def _status(file: Path, names: list[str]) -> int:
    with _units(file) as units:
        waits = units.waits_for(names[0])
        state = units.state(names[0])
    found = {"unit": names[0], "status": state, "ready": not waits, "waits_for": waits}
    print(json.dumps(found))  # noqa: T201
    return 0


_VERBS: Final[dict[str, Callable[[Path, list[str]], int]]] = {
    "want": _want,
    "start": _start,
    "complete": _complete,
    "status": _status,
}


# --- dotfiles


def _dotfiles(words: list[str]) -> int:
    """Clone or update a repository of dotfiles, and run its installer or link its files."""
    branch: list[str] = []
    names: list[str] = []
    rest = iter(words)
    for word in rest:
        if word in {"-b", "--branch"}:
            branch = ["--branch", next(rest, "")]
        elif not word.startswith("-"):
            names.append(word)
    if not names:
        return _fail("dotfiles takes the URL of a git repository")
    if shutil.which("git") is None:
        return _fail("dotfiles needs git, which is not here")
    home = Path.home()
    place = home / ".config" / "kled" / "dotfiles"
    place.parent.mkdir(parents=True, exist_ok=True)
    if place.exists():
        done = subprocess.run(["git", "-C", place, "pull", "--ff-only"], check=False)
    else:
        done = subprocess.run(["git", "clone", *branch, "--", names[0], place], check=False)
    if done.returncode:
        return _fail(f"git ended with {done.returncode}")
    for installer in _INSTALLERS:
        if os.access(place / installer, os.X_OK) and (place / installer).is_file():
            return subprocess.run([place / installer], cwd=place, check=False).returncode
    _link(place, home)
    return 0


def _link(place: Path, home: Path) -> None:
    """Link each dotfile into the home directory; what was there before is kept as NAME.bak."""
    for source in sorted(place.glob(".*")):
        target = home / source.name
        if source.name == ".git" or (target.is_symlink() and target.readlink() == source):
            continue
        if target.is_symlink() or target.exists():
            target.rename(target.with_name(f"{target.name}.bak"))
        target.symlink_to(source)
