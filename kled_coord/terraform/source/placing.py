"""Finds the place in a template of an error for which Terraform names none. Pure.

It says none of cycles, of providers that it cannot fetch, and of modules that are not there; but
it names them, and they stand somewhere.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final

from kled_coord.terraform.source.blocks import is_source, read_file_blocks
from kled_coord.terraform.source.hcl import HclBlock, literal

_ADDRESS: Final = re.compile(r"(?:data\.)?([^\W\d][\w-]*)\.([^\W\d][\w-]*)")
_PROVIDER: Final = re.compile(r"provider (?:\"?registry\.[\w.-]+/)?([\w-]+)/([\w-]+)")
# Blocks whose addresses in Terraform begin with another word, or have a single label.
_BLOCKS: Final = {"module": "module", "output": "output", "var": "variable"}
_INDEX: Final = re.compile(r"\[(?:\d+|\"(?:[^\"\\]|\\.)*\")\]")
_MODULE: Final = re.compile(r"(?:lstat|stat|open) (\S+?):? ")


def find_place(message: str, sources: Mapping[str, bytes]) -> str:
    """`main.tf:3` of what `message` is about, "" where nothing of it is found."""
    blocks = [
        (name, block)
        for name in sorted(filter(is_source, sources))
        for block in read_file_blocks(name, sources[name])
    ]
    for found in (*_providers(message, sources, blocks), *_modules(message, blocks)):
        return found
    if message.startswith("Cycle:"):
        for address in _ADDRESS.finditer(message):
            for name, block in blocks:
                if _declares(block, *address.groups()):
                    return _place(name, block)
    return ""


def place_of(address: str, sources: Mapping[str, bytes]) -> str:
    """`main.tf:3` of a resource, or of the call of the module that it is in; "" if not found."""
    first, second, *_ = *_INDEX.sub("", address).split("."), ""
    labels = (second,) if first == "module" else (first, second)
    for name in sorted(filter(is_source, sources)):
        for block in read_file_blocks(name, sources[name]):
            if block.labels == labels and block.kind in {"module", "resource"}:
                return _place(name, block)
    return ""


def _declares(block: HclBlock, kind: str, name: str) -> bool:
    """Whether a block is what Terraform calls `kind.name`, or has it in it."""
    if kind == "local":
        return block.kind == "locals" and name in block.attributes
    if kind in _BLOCKS:
        return (block.kind, block.labels) == (_BLOCKS[kind], (name,))
    return block.labels == (kind, name)


def _providers(
    message: str, sources: Mapping[str, bytes], blocks: list[tuple[str, HclBlock]]
) -> Iterator[str]:
    """Where a provider is required, else where something of it is first."""
    found = _PROVIDER.search(message)
    if found is None:
        return
    namespace, kind = found.groups()
    for name in sorted(filter(is_source, sources)):
        lines = sources[name].decode("utf-8", "replace").split("\n")
        for number, line in enumerate(lines, start=1):
            if f'{namespace}/{kind}"' in line:
                yield f"{name}:{number}"
    for name, block in blocks:
        is_thing = block.kind in {"resource", "data"} and bool(block.labels)
        if is_thing and block.labels[0].partition("_")[0] == kind:
            yield _place(name, block)


def _modules(message: str, blocks: list[tuple[str, HclBlock]]) -> Iterator[str]:
    found = _MODULE.search(f"{message} ")
    if found is None or "module" not in message.lower():
        return
    for name, block in blocks:
        source = literal(block.attributes.get("source", "")) or ""
        if block.kind == "module" and source.removeprefix("./").rstrip("/") == found[1]:
            yield _place(name, block)


def _place(name: str, block: HclBlock) -> str:
    return f"{name}:{block.line}" if block.line else name
