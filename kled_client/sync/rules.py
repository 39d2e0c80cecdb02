"""The rules of what a sync leaves out, from options and presets. No I/O."""

from __future__ import annotations

from collections.abc import Iterable

from kled_sync.ignore.presets import VCS, preset
from kled_wire.errors import InputError


def rules_of(lines: Iterable[str], presets: Iterable[str], *, vcs: bool = True) -> bytes:
    """Lines of a .gitignore, the weakest first; `vcs` false leaves repositories' own folders out.

    Raises InputError.
    """
    found = b"" if vcs else VCS
    for name in presets:
        found += preset(name)
    for line in lines:
        if "\n" in line or "\0" in line:
            raise InputError("sync_rule_invalid", f"{line[:80]!r} is no rule of one line")
        found += line.encode("utf-8", "surrogateescape") + b"\n"
    return found
