"""The arguments of bwrap(1) for one confined program.

Order is meaning: a later mount covers an earlier one. So first what is shown, then what is hidden
below it, last what may be written, which can lie below a hidden directory.
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


def bubblewrap_arguments(
    view: View, *, base: Mapping[Path, Path], writable: Mapping[Path, Path]
) -> list[str]:
    """Return what stands between `bwrap` and the program.

    `base` and `writable` map a path inside to the directory outside that is mounted there. `base`
    comes before what is shown (a home that holds programs to be shown), `writable` after what is
    hidden. The program gets process, IPC and host name namespaces of its own, no capability, its
    own /proc, /dev and /sys; the network stays.
    """
    arguments = ["--unshare-pid", "--unshare-ipc", "--unshare-uts", "--cap-drop", "ALL"]
    arguments += ["--proc", "/proc", "--dev", "/dev"]
    for name in _PROC_READ_ONLY:
        arguments += ["--ro-bind-try", f"/proc/{name}", f"/proc/{name}"]
    arguments += _binds(base)
    for path, target in view.links.items():
        arguments += ["--symlink", target, str(path)]
    for path in view.shown:
        arguments += ["--ro-bind", str(path), str(path)]
    for path in view.hidden_directories:
        if _is_shown(path, view):
            arguments += ["--tmpfs", str(path)]
    for path in view.hidden_files:
        if _is_shown(path, view):
            arguments += ["--ro-bind", "/dev/null", str(path)]
    return [*arguments, *_binds(writable)]


def _binds(directories: Mapping[Path, Path]) -> list[str]:
    return [
        word
        for inside, outside in directories.items()
        for word in ("--bind", str(outside), str(inside))
    ]


def _is_shown(path: Path, view: View) -> bool:
    return any(path.is_relative_to(shown) for shown in view.shown)
