"""The addresses of a template's parameters and presets, including those of its modules.

Only these are planned when somebody is asked (asking.py). A module's directory is what `init` says
it is; nothing but regular files below the template is read.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Final

from kled_coord.terraform.blocks import is_source, read_file_blocks
from kled_coord.terraform.untrusted import read_file

# Data sources of ours that tell the host what they ask for (kled_provider/host.py).
ASKING: Final = frozenset(
    {"kled_parameter", "kled_preset", "coder_parameter", "coder_workspace_preset"}
)
_MODULES: Final = ".terraform/modules/modules.json"
_MODULES_MAX: Final = 500


def list_targets(work: Path) -> tuple[str, ...]:
    """The addresses in an initialised template. Blocks. Raises OSError."""
    found: set[str] = set()
    for prefix, directory in _modules(work):
        for kind, name in _asking(work, directory):
            found.add(f"{prefix}data.{kind}.{name}")
    return tuple(sorted(found))


def _modules(work: Path) -> Iterator[tuple[str, str]]:
    """The beginning of the addresses in each module, and its directory below `work`."""
    yield "", "."
    for key, directory in list(_listed(read_file(work, _MODULES)))[:_MODULES_MAX]:
        if key:
            yield "".join(f"module.{part}." for part in key.split(".")), directory


def _listed(content: bytes | None) -> Iterator[tuple[str, str]]:
    try:
        modules = json.loads(content or b"{}")["Modules"]
        found = [(str(module["Key"]), str(module["Dir"])) for module in modules]
    except (ValueError, KeyError, TypeError, RecursionError):
        return
    for key, directory in found:
        path = PurePosixPath(directory)
        if not path.is_absolute() and ".." not in path.parts:
            yield key, directory


def _asking(work: Path, directory: str) -> Iterator[tuple[str, str]]:
    folder = work / directory
    if not folder.is_dir():
        return
    for path in sorted(folder.iterdir()):
        if not is_source(path.name):
            continue
        content = read_file(work, str(PurePosixPath(directory) / path.name))
        for block in read_file_blocks(path.name, content or b""):
            if block.kind == "data" and len(block.labels) == 2 and block.labels[0] in ASKING:
                yield block.labels[0], block.labels[1]
