"""The arguments of bwrap(1) for one confined program.

A later mount covers an earlier one, so a directory is mounted before those inside it: a hidden one
in a shown one, a run's in the hidden data directory, the interpreter's in a home.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

# Without a capability, but as uid 0, a program could still write these: a core_pattern is a
# program that the kernel starts as root outside of every namespace. bwrap covers a directory only
# where access(2) calls it writable. The list is `readonlyPaths` of the OCI runtimes' default.
_PROC_READ_ONLY = ("bus", "fs", "irq", "sys", "sysrq-trigger")


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """What a confined program sees of the machine, all of it read-only.

    `links` are symbolic links by path. A path of `shown` is mounted with all below it, in the order
    given; `hidden_directories` are empty, and `hidden_files` a device that nobody may open.
    """

    links: Mapping[Path, str]
    shown: Sequence[Path]
    hidden_directories: Sequence[Path]
    hidden_files: Sequence[Path]


def bubblewrap_arguments(view: View, writable: Mapping[Path, Path]) -> list[str]:
    """Return what stands between `bwrap` and the program.

    `writable` maps a path inside to the directory outside that is mounted there. The program gets
    process, IPC and host name namespaces of its own, no capability, its own /proc and /dev; the
    network stays.
    """
    arguments = ["--unshare-pid", "--unshare-ipc", "--unshare-uts", "--cap-drop", "ALL"]
    mounts = [
        (path, ["--symlink", target, str(path)])
        for path, target in view.links.items()
        if not _is_shown(path, view)  # it is there already
    ]
    mounts += [(path, ["--ro-bind", str(path), str(path)]) for path in view.shown]
    # After what is shown, which may be all of the machine.
    mounts += [(Path("/proc"), ["--proc", "/proc"]), (Path("/dev"), ["--dev", "/dev"])]
    for name in _PROC_READ_ONLY:
        path = Path("/proc", name)
        mounts.append((path, ["--ro-bind-try", str(path), str(path)]))
    mounts += [(path, ["--tmpfs", str(path)]) for path in _seen(view.hidden_directories, view)]
    mounts += [
        (path, ["--ro-bind", "/dev/null", str(path)]) for path in _seen(view.hidden_files, view)
    ]
    mounts += [(inside, ["--bind", str(path), str(inside)]) for inside, path in writable.items()]
    mounts.sort(key=lambda mount: len(mount[0].parts))
    return arguments + [word for _, words in mounts for word in words]


def _seen(paths: Sequence[Path], view: View) -> list[Path]:
    """Those below something shown: elsewhere bwrap would make the path only to hide it."""
    return [path for path in paths if _is_shown(path, view)]


def _is_shown(path: Path, view: View) -> bool:
    return any(path.is_relative_to(shown) for shown in view.shown)
