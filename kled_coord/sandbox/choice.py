"""Decides whether the programs of templates are confined on this machine, and if not, why."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Final

import structlog
import trio

from kled_coord.config import CoordinatorConfig
from kled_coord.sandbox.bubblewrap import View, bubblewrap_arguments
from kled_coord.sandbox.system import look_at_system
from kled_wire.errors import ConfigError

_PROGRAM: Final = "bwrap"
_PROBE_S: Final = 10.0
_APPARMOR: Final = Path("/proc/sys/kernel/apparmor_restrict_unprivileged_userns")
_INSTALL: Final = "install bubblewrap (apt install bubblewrap)"
_PROFILE: Final = (
    "AppArmor forbids user namespaces here: give bwrap its profile (docs/operations.md)"
)

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sandbox:
    """Confines a program. `program` is bwrap; `shown` and `hidden` as for look_at_system."""

    program: str
    shown: Sequence[Path] = ()
    hidden: Sequence[Path] = ()

    async def look(self, shown: Sequence[Path] = ()) -> View:
        """Return what a program sees of this machine as it is now; `shown` are paths besides."""
        return await trio.to_thread.run_sync(
            partial(look_at_system, shown=(*self.shown, *shown), hidden=self.hidden)
        )

    def confine(
        self,
        argv: Sequence[str],
        view: View,
        *,
        directory: Path,
        writable: Mapping[Path, Path] | None = None,
        options: Sequence[str] = (),
    ) -> tuple[str, ...]:
        """Return the arguments that run `argv` in `directory`, confined (bubblewrap.py).

        `options` are further ones of bwrap(1). What was to be hidden and has gone since `view` was
        made needs no hiding: bwrap would make it.
        """
        view = replace(
            view,
            hidden_directories=[path for path in view.hidden_directories if path.exists()],
            hidden_files=[path for path in view.hidden_files if path.exists()],
        )
        arguments = bubblewrap_arguments(view, writable or {})
        return (self.program, *arguments, *options, "--chdir", str(directory), "--", *argv)


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """The sandbox in effect, or None and the reason."""

    sandbox: Sandbox | None
    reason: str = ""

    def describe(self) -> str:
        """Say it in one line."""
        return "bubblewrap" if self.sandbox is not None else f"none: {self.reason}"


@dataclass(slots=True)
class SandboxChoice:
    """Decides at the first use, by running a program in a sandbox, and keeps the answer."""

    config: CoordinatorConfig
    _made: Choice | None = field(default=None, init=False)
    _deciding: trio.Lock = field(default_factory=trio.Lock, init=False)

    async def make(self) -> Choice:
        """Return the choice. Raises ConfigError where `sandbox = "bubblewrap"` does not work."""
        async with self._deciding:
            if self._made is None:
                self._made = await _decide(self.config)
                is_missing = self._made.sandbox is None and self.config.sandbox != "off"
                tell = log.warning if is_missing else log.info
                tell("sandbox_chosen", sandbox=self._made.describe())
        return self._made


async def _decide(config: CoordinatorConfig) -> Choice:
    if config.sandbox == "off":
        return Choice(sandbox=None, reason='sandbox = "off"')
    program = shutil.which(_PROGRAM)
    if program is None:
        reason = f"there is no {_PROGRAM} on PATH; {_INSTALL}"
    else:
        sandbox = Sandbox(
            program=program, shown=config.sandbox_paths, hidden=config.private_paths()
        )
        reason = await _try(sandbox)
        if not reason:
            return Choice(sandbox=sandbox)
    if config.sandbox == "bubblewrap":
        raise ConfigError("sandbox_unusable", f'sandbox = "bubblewrap": {reason}')
    return Choice(sandbox=None, reason=reason)


async def _try(sandbox: Sandbox) -> str:
    """Confine a program that does nothing; returns why it does not work, or nothing."""
    argv = sandbox.confine(("true",), await sandbox.look(), directory=Path("/"))
    with trio.move_on_after(_PROBE_S):
        try:
            done = await trio.run_process(
                argv, capture_stdout=True, capture_stderr=True, stdin=b"", check=False
            )
        except OSError as error:
            return f"{sandbox.program}: {error.strerror}"
        if done.returncode == 0:
            return ""
        return _explain(done)
    return f"{sandbox.program} did not start a program within {_PROBE_S:.0f} s"


def _explain(done: subprocess.CompletedProcess[bytes]) -> str:
    said = done.stderr.decode("utf-8", "replace").strip().splitlines()
    reason = said[-1][:200] if said else f"bwrap ended with exit code {done.returncode}"
    restricted = _APPARMOR.is_file() and _APPARMOR.read_text(encoding="ascii").strip() == "1"
    return f"{reason}; {_PROFILE}" if restricted else reason
