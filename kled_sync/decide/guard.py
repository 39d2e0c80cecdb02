"""The files of git that a workspace may not write on the laptop: git would execute them. No I/O.

Hooks, filters and aliases are programs, and `git status` is enough to start some of them. So are
those of a repository that a `.git` file points to, and of the submodules inside `.git`.
"""

from __future__ import annotations

from typing import Final

from kled_sync.tree.entry import TreeEntry

_RUNS: Final = frozenset({b"hooks", b"config", b"config.worktree", b"info"})


def is_guarded(path: bytes, entry: TreeEntry | None) -> bool:
    """Whether `path`, with `entry` there, must not be brought to the laptop, nor taken away."""
    # Filesystems that fold case find .GIT as well.
    lower = path.lower()
    if b".git" not in lower:
        return False
    parts = lower.split(b"/")
    if b".git" not in parts:
        return False
    inside = parts[parts.index(b".git") + 1 :]
    if not inside:
        return entry is not None and not entry.is_directory
    return not _RUNS.isdisjoint(inside) or inside[-1].endswith(b".lock")
