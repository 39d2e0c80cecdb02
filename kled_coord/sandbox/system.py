"""The files of this machine that a confined program sees: programs and settings, no user data.

Below /etc what other users may not read is hidden, also from a coordinator that is root or has the
group: the settings file with the database's password, private keys, password hashes. The home of
the coordinator's user is hidden wherever it lies; /opt is a usual place.
"""

from __future__ import annotations

import importlib.util
import os
import pwd
import stat
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from kled_coord.sandbox.bubblewrap import View

_ROOTS: Final = ("bin", "sbin", "lib", "lib32", "lib64", "libx32", "usr", "opt", "nix", "sys")
_SETTINGS: Final = Path("/etc")
# Where a link of these leads is shown too; systemd-resolved's file is below /run.
_FOLLOWED: Final = (Path("/etc/resolv.conf"), Path("/etc/hosts"), Path("/etc/localtime"))
# What the agent of a workspace, a process in the sandbox, imports.
_PACKAGES: Final = ("kled_agent", "kled_sync", "kled_wire")


def look_at_system(
    *, shown: Sequence[Path], hidden: Sequence[Path], settings: Path = _SETTINGS
) -> View:
    """Return the view of this machine as it is now. Blocks for some 10 ms: it walks /etc.

    `shown` and `hidden` are the owner's: paths to show besides, and what never to show. A path
    that does not exist is left out. `settings` is what is shown but for the files that are closed
    to others.
    """
    links, roots = _roots()
    roots.insert(0, settings)
    hidden_directories, hidden_files = _closed_to_others(settings)
    homes = [home for home in _own_home() if home not in shown]
    for path in [each.resolve() for each in (*hidden, *homes)]:
        (hidden_directories if path.is_dir() else hidden_files).append(path)
    # Those below a root are named again: a home that lies there too would cover them.
    paths = dict.fromkeys((*roots, *_interpreter(), *_led_to(), *shown))
    return View(
        links=links,
        shown=[path for path in paths if path.exists()],
        hidden_directories=hidden_directories,
        hidden_files=[path for path in hidden_files if path.exists()],
    )


def _own_home() -> list[Path]:
    """The home of our user, with their keys. System users share directories of root's instead."""
    try:
        home = Path(pwd.getpwuid(os.geteuid()).pw_dir)
        return [home] if home.stat().st_uid == os.geteuid() else []
    except (KeyError, OSError):
        return []


def _roots() -> tuple[dict[Path, str], list[Path]]:
    links: dict[Path, str] = {}
    roots: list[Path] = []
    for path in (Path("/", name) for name in _ROOTS):
        if path.is_symlink():
            links[path] = str(path.readlink())
        elif path.is_dir():
            roots.append(path)
    return links, roots


def _interpreter() -> list[Path]:
    found = [Path(sys.base_prefix), Path(sys.prefix)]
    for name in _PACKAGES:
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.submodule_search_locations:
            found += [Path(place) for place in spec.submodule_search_locations]
    return found


def _led_to() -> list[Path]:
    return [path.resolve() for path in _FOLLOWED if path.is_symlink()]


def _closed_to_others(top: Path) -> tuple[list[Path], list[Path]]:
    """Directories and files below `top` that other users may not enter or read."""
    directories: list[Path] = []
    files: list[Path] = []
    pending = [str(top)]
    while pending:
        with os.scandir(pending.pop()) as entries:
            for entry in entries:
                mode = entry.stat(follow_symlinks=False).st_mode
                if stat.S_ISDIR(mode):
                    if mode & (stat.S_IROTH | stat.S_IXOTH) == stat.S_IROTH | stat.S_IXOTH:
                        pending.append(entry.path)
                    else:
                        directories.append(Path(entry.path))
                elif stat.S_ISREG(mode) and not mode & stat.S_IROTH:
                    files.append(Path(entry.path))
    return directories, files
