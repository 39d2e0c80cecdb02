"""The addresses of a template's parameters and presets, including those of its modules.

Only these are planned when parameters are evaluated (evaluator.py). A module's directory is what
`init` says it is; nothing but regular files below the template is read.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from pathlib import Path, PurePosixPath
from typing import Final

from kled_coord.terraform.source.blocks import is_source, read_file_blocks
from kled_coord.terraform.source.hcl import HclBlock
from kled_coord.terraform.source.untrusted import read_file

# Data sources of ours that tell the host what they ask for (kled_provider/host.py).
ASKING: Final = frozenset(
    {"kled_parameter", "kled_preset", "coder_parameter", "coder_workspace_preset"}
)
_MODULES: Final = ".terraform/modules/modules.json"
_MODULES_MAX: Final = 500
_REPEATING: Final = frozenset({"count", "for_each"})


def list_targets(work: Path) -> tuple[str, ...]:
    """The addresses in an initialised template. Blocks. Raises OSError.

    For what is in a module that is called with `count` or `for_each` it is the module's: Terraform
    takes the address of something in it for the one of an instance without a key, and finds none.
    """
    modules = dict(_modules(work))
    blocks = {key: list(_blocks(work, directory)) for key, directory in modules.items()}
    repeated = {
        _inside(key, block.labels[0])
        for key, found in blocks.items()
        for block in found
        if block.kind == "module" and block.labels and _REPEATING & block.attributes.keys()
    }
    return tuple(
        sorted(
            {
                _address(key, repeated) or f"{_module(key)}data.{'.'.join(block.labels)}"
                for key, found in blocks.items()
                for block in found
                if block.kind == "data" and len(block.labels) == 2 and block.labels[0] in ASKING
            }
        )
    )


def _address(key: str, repeated: Collection[str]) -> str:
    """The address of the outermost module around that is repeated; "": there is none."""
    parts = key.split(".")
    around = (".".join(parts[:count]) for count in range(1, len(parts) + 1))
    return next((_module(each).removesuffix(".") for each in around if each in repeated), "")


def _module(key: str) -> str:
    """The beginning of the addresses in a module."""
    return "".join(f"module.{part}." for part in key.split(".") if part)


def _inside(key: str, name: str) -> str:
    return f"{key}.{name}" if key else name


def _modules(work: Path) -> Iterator[tuple[str, str]]:
    """The key of each module, the root's is "", and its directory below `work`."""
    yield "", "."
    for key, directory in list(_listed(read_file(work, _MODULES)))[:_MODULES_MAX]:
        if key:
            yield key, directory


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


def _blocks(work: Path, directory: str) -> Iterator[HclBlock]:
    folder = work / directory
    if not folder.is_dir():
        return
    for path in sorted(folder.iterdir()):
        if is_source(path.name):
            content = read_file(work, str(PurePosixPath(directory) / path.name))
            yield from read_file_blocks(path.name, content or b"")
