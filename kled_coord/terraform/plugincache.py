"""A cache of providers that runs share, through a directory for each run.

Terraform's plugin cache is not made for several at once: without a lock file each `init` installs
anew, over what another one reads or runs. So a run gets a cache in its own directory, in which the
shared packages stand as links, and what its `init` has installed is published by one rename. What
is published never changes.
"""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import structlog

from kled_coord.terraform.process.cliconfig import read_cli_config

CACHE: Final = "TF_PLUGIN_CACHE_DIR"
# Where the links lead to; the sandbox shows it.
SHARED: Final = "KLED_SHARED_PLUGIN_CACHE"
# A package of the cache will do, though the lock file does not know it: there is none.
_ANY_PACKAGE: Final = "TF_PLUGIN_CACHE_MAY_BREAK_DEPENDENCY_LOCK_FILE"
_LOCK_FILE: Final = ".terraform.lock.hcl"
# Terraform installs from here in place of the registry, under any name and without a signature.
_MIRROR_OF_TEMPLATE: Final = "terraform.d"
# HOSTNAME/NAMESPACE/TYPE/VERSION/TARGET, as in Terraform's unpacked mirrors.
_PACKAGES: Final = "[!.]*/*/*/*/*"
# In a CLI configuration file, in HCL or JSON.
_SETTING: Final = re.compile(r'^\s*"?plugin_cache_dir"?\s*[=:]\s*"([^"$\\]+)"', re.MULTILINE)
_LOCKED: Final = re.compile(r'provider\s+"([^"]+)"\s*\{[^}]*?version\s*=\s*"([^"]+)"')

log = structlog.get_logger(__name__)


class PluginCache:
    """One run's share in the cache that its environment names, if it names one."""

    def __init__(self, environment: Mapping[str, str], directory: Path) -> None:
        self._shared = find_shared(environment)
        self._own = directory / "plugins"
        self._is_shared_back = True

    def lend(self, work: Path) -> dict[str, str]:
        """Set the run's own cache up; returns what Terraform in `work` is told of it. Blocks.

        Where the template has a lock file, Terraform may install over a package that does not
        match it: those are copies. Of a template that brings providers nothing is published: it
        would give every other template its own program under the name of somebody else's.
        """
        if self._shared is None:
            return {}
        self._is_shared_back = not (work / _MIRROR_OF_TEMPLATE).exists()
        self._own.mkdir(mode=0o700)
        told = {CACHE: str(self._own), SHARED: str(self._shared)}
        lock = work / _LOCK_FILE
        if not lock.is_file():
            for package in self._shared.glob(_PACKAGES):
                target = self._own / package.relative_to(self._shared)
                target.parent.mkdir(parents=True, exist_ok=True)
                target.symlink_to(package)
            return told | {_ANY_PACKAGE: "1"}
        locked = set(_LOCKED.findall(lock.read_text("utf-8", "replace")))
        for package in self._shared.glob(_PACKAGES):
            name = package.relative_to(self._shared)
            if ("/".join(name.parts[:3]), name.parts[3]) in locked:
                shutil.copytree(package, self._own / name, symlinks=True)
        return told

    def publish(self) -> None:
        """Give what `init` has installed to later runs. Blocks. What fails is only not shared."""
        if self._shared is None or not self._is_shared_back:
            return
        for package in self._installed():
            target = self._shared / package.relative_to(self._own)
            if target.exists():
                continue
            try:
                self._publish(self._shared, package, target)
            except OSError as error:
                if target.exists():
                    continue  # another run was first: rename(2) replaces no full directory
                log.warning("provider_not_cached", package=str(target), reason=str(error))

    def _installed(self) -> Iterator[Path]:
        """Packages that are neither links to the shared ones nor to a mirror."""
        for package in self._own.glob(_PACKAGES):
            if package.is_dir() and not package.is_symlink():
                yield package

    def _publish(self, shared: Path, package: Path, target: Path) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(
            prefix=".kled-", dir=shared, ignore_cleanup_errors=True
        ) as aside:
            whole = Path(aside) / "package"
            shutil.copytree(package, whole, symlinks=True)
            whole.rename(target)


def find_shared(environment: Mapping[str, str]) -> Path | None:
    """The cache that the environment, or the file that it names, says. Raises ConfigError."""
    named = environment.get(CACHE)
    if not named:
        setting = _SETTING.search(read_cli_config(environment))
        named = setting and setting[1]
    return Path(named).absolute() if named else None
