"""Which attribute of a container is to blame for what containerd, the shim or the runtime refuses.

They answer in sentences alone; those of containerd 1.6 to 2.1, runc and Kata's runtime-rs are read
here. One that is not known stands at the container itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from kled_provider.containerd.caller import ContainerdError
from kled_provider.kata.container.declared.block_rules import PLACES, place_in_container
from kled_provider.plugin.diagnostics import DiagnosticError, Path
from kled_provider.plugin.values import Values

# The first that fits counts: what a runtime could not do stands before what it says of files.
_KNOWN: Final[tuple[tuple[str, str, Path], ...]] = (
    ("no space left on device", "The disk of containerd is full", ("image",)),
    (r"volume \S+ is in use by", "The volume is in use", ("volume",)),
    ("sysctl|/proc/sys/", "A kernel parameter is refused", ("sysctls",)),
    ("rlimit", "A limit is refused", ("rlimit",)),
    ("uids and gids must be", "There is no such user", ("user",)),
    (r"cwd|init: mkdir ", "The directory cannot be entered", ("workdir",)),
    ("unknown field|configuration|hypervisor", "Kata refuses its settings", ("runtime",)),
    ("binary not installed|invalid runtime name|start shim|resolve runtime path",
     "The runtime cannot be started", ("runtime",)),
    ("mounting|reopening /dev", "A mount is refused", ("mount",)),
    # Without `: unknown` since containerd 2.
    ((r"executable file|exec format|"
     r"(no such file( or directory)?|permission denied|is a directory)(: unknown)?$"),
     "The command cannot be started", ("command",)),
)  # fmt: skip


def blamed(text: str, values: Values) -> tuple[str, Path]:
    """Return what a refusal is about: a title, and the path of an attribute; () for none."""
    for pattern, summary, path in _KNOWN:
        found = re.search(pattern, text)
        if found is None:
            continue
        if path == ("command",) and values["command"] is None and values["args"] is None:
            return summary, ("image",)
        if path == ("volume",) and len(values["volume"]) == 1:
            return summary, ("volume", 0, "volume")
        if path == ("mount",):
            return summary, next(_mounted_at(text, values), path if values["mount"] else ())
        if path == ("runtime",) and values["runtime"] is not None:
            name = "config" if "configuration" in text else "handler"
            return summary, (*path, name if values["runtime"][name] is not None else "handler")
        return summary, path if values[str(path[0])] else ()
    return "The container cannot be started", ()


def _mounted_at(text: str, values: Values) -> Iterator[Path]:
    """The blocks whose place in the container a refusal names."""
    for block, attribute in PLACES:
        for index, item in enumerate(values[block]):
            place = item.get(attribute)  # of a device it may be left out
            if place is not None and f'"{place_in_container(place)}"' in text:
                yield (block, index, attribute)


@contextmanager
def explained_start(values: Values) -> Iterator[None]:
    """Turn what is refused when a container is started into a diagnostic on its attribute."""
    try:
        yield
    except ContainerdError as error:
        if error.hint:  # containerd is not there: no attribute is to blame
            raise
        summary, path = blamed(error.message, values)
        raise DiagnosticError.of(summary, error.message, path=path) from error
