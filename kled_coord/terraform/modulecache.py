"""A cache of the modules that `init` has fetched, for later runs of the same template.

Kept by the digest of the template, which cannot change what another one gets. As with providers
(plugincache.py), runs work at once: a run gets a copy, and what its `init` has fetched is published
by one rename, before anything of the template's own has run.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Final

import structlog

# For how many templates modules are kept; those used last are. The modules of one are text, about a
# megabyte.
KEPT: Final = 200
_MODULES: Final = ".terraform/modules"

log = structlog.get_logger(__name__)


def digest_of(template: bytes) -> str:
    """The name under which something of a template is kept: of the same bytes the same."""
    return hashlib.sha256(template).hexdigest()


class ModuleCache:
    """One template's share in the cache below `directory`; None: nothing is kept.

    Those of `most` templates are kept, the last used.
    """

    def __init__(self, directory: Path | None, template: bytes, *, most: int = KEPT) -> None:
        self._most = most
        self._shared = directory and directory / digest_of(template)

    def lend(self, work: Path) -> None:
        """Give the modules to the template in `work`, which `init` has not seen yet. Blocks."""
        if self._shared is None or not self._shared.is_dir():
            return
        try:
            shutil.copytree(self._shared, work / _MODULES, symlinks=True)
            os.utime(self._shared)
        except OSError as error:
            # `init` then fetches the modules again; with half of them it would fail.
            log.warning("modules_not_lent", directory=str(self._shared), reason=str(error))
            shutil.rmtree(work / _MODULES, ignore_errors=True)

    def publish(self, work: Path) -> None:
        """Keep what `init` has fetched into `work`. Blocks. What fails is only not shared."""
        found = work / _MODULES
        if self._shared is None or self._shared.exists() or not _is_any_fetched(found):
            return
        try:
            self._publish(self._shared, found)
        except OSError as error:
            if not self._shared.exists():  # else another run was first
                log.warning("modules_not_kept", directory=str(self._shared), reason=str(error))

    def _publish(self, shared: Path, found: Path) -> None:
        directory = shared.parent
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(
            prefix=".kled-", dir=directory, ignore_cleanup_errors=True
        ) as aside:
            whole = Path(aside) / "modules"
            shutil.copytree(found, whole, symlinks=True)
            whole.rename(shared)
        by_age = sorted(directory.glob("[!.]*"), key=_used_at)
        for old in by_age[: -self._most]:
            shutil.rmtree(old, ignore_errors=True)


def _is_any_fetched(modules: Path) -> bool:
    """Whether there is more than the list: modules of the template's own stay where they are."""
    return modules.is_dir() and any(path.is_dir() for path in modules.iterdir())


def _used_at(path: Path) -> float:
    with suppress(OSError):
        return path.stat().st_mtime
    return 0.0
