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
    ("rlimit|too many open files", "A limit is refused", ("rlimit",)),
    ("memory limit|memory.max", "The memory limit is refused", ("memory",)),
    ("cpu.cfs_|cpu.max", "The CPU limit is refused", ("vcpus",)),
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
# The limits, each at the index that is its number in Linux (asm-generic/resource.h).
_RLIMITS: Final = (
    "cpu", "fsize", "data", "stack", "core", "rss", "nproc", "nofile", "memlock", "as", "locks",
    "sigpending", "msgqueue", "nice", "rtprio", "rttime",
)  # fmt: skip
_OPEN_FILES: Final = _RLIMITS.index("nofile")
_NOT_STARTED: Final = "The container cannot be started"


def blamed(text: str, values: Values) -> tuple[str, Path]:
    """Return what a refusal is about: a title, and the path of an attribute; "" and () for none."""
    for pattern, summary, path in _KNOWN:
        found = re.search(pattern, text)
        if found is None:
            continue
        return summary, next(_places(path, text, values), path if values[str(path[0])] else ())
    return "", ()


def _places(path: Path, text: str, values: Values) -> Iterator[Path]:
    """Where exactly it is, as far as the refusal tells."""
    match path:
        case ("command",) if values["command"] is None and values["args"] is None:
            yield ("image",)
        case ("volume",) if len(values["volume"]) == 1:
            yield ("volume", 0, "volume")
        case ("mount",):
            yield from _mounted_at(text, values)
        case ("rlimit",):
            yield from _limits_named(text, values)
        case ("runtime",) if values["runtime"] is not None:
            name = "config" if "configuration" in text else "handler"
            yield ("runtime", name if values["runtime"][name] is not None else "handler")


def _mounted_at(text: str, values: Values) -> Iterator[Path]:
    """The blocks whose place in the container a refusal names."""
    for block, attribute in PLACES:
        for index, item in enumerate(values[block]):
            place = item.get(attribute)  # of a device it may be left out
            if place is not None and f'"{place_in_container(place)}"' in text:
                yield (block, index, attribute)


def _limits_named(text: str, values: Values) -> Iterator[Path]:
    """The blocks of the limit that a refusal names, by its number."""
    found = re.search(r"rlimit type (\d+)", text)
    number = int(found[1]) if found else _OPEN_FILES
    for index, item in enumerate(values["rlimit"] or ()):
        if number < len(_RLIMITS) and item["name"] == _RLIMITS[number]:
            yield ("rlimit", index, "hard")


@contextmanager
def explained(values: Values, otherwise: str = _NOT_STARTED) -> Iterator[None]:
    """Turn what is refused of a container into a diagnostic on its attribute.

    One that is of no attribute has the title `otherwise`.
    """
    try:
        yield
    except ContainerdError as error:
        if error.hint:  # containerd is not there: no attribute is to blame
            raise
        summary, path = blamed(error.message, values)
        raise DiagnosticError.of(summary or otherwise, error.message, path=path) from error
