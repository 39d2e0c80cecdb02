"""Presets of ignore rules, for files that each machine generates itself. No I/O."""

from __future__ import annotations

from typing import Final

from kled_wire.errors import InputError

VCS: Final = b".git\n.hg\n.svn\n.bzr\n.jj\n_darcs\nCVS\n"
PRESETS: Final = {
    "node": b"node_modules/\n.npm/\n.yarn/cache/\n.pnpm-store/\n.next/\n.nuxt/\n.parcel-cache/\n",
    "python": b"__pycache__/\n*.pyc\n.venv/\nvenv/\n.tox/\n.nox/\n.mypy_cache/\n.pytest_cache/\n"
    b".ruff_cache/\n*.egg-info/\n",
    "rust": b"target/\n",
    "java": b"target/\nbuild/\n.gradle/\n*.class\n",
    "go": b"/bin/\n/pkg/\n",
    "terraform": b".terraform/\n*.tfstate\n*.tfstate.*\n",
    "editors": b"*.swp\n*.swo\n*~\n.#*\n\\#*#\n.DS_Store\nThumbs.db\n4913\n",
}


def preset(name: str) -> bytes:
    """The rules called `name`. Raises InputError("sync_preset_unknown")."""
    if name not in PRESETS:
        raise InputError(
            "sync_preset_unknown",
            f"there are no rules called {name[:40]!r}",
            hint=f"there are {', '.join(PRESETS)}",
        )
    return PRESETS[name]
