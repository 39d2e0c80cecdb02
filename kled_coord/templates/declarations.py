"""The declarations of a template: its variables, and whether a file has a backend of its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from kled_coord.store.template_records import Variable
from kled_coord.terraform.source.blocks import read_file_blocks
from kled_coord.terraform.source.hcl import literal
from kled_coord.terraform.source.variables import (
    in_merge_order,
    is_override,
    merge_variables,
    says_yes,
)

# More is cut off: these are for people to read.
_TEXT_MAX: Final = 4096


def list_variables(sources: Mapping[str, bytes]) -> tuple[Variable, ...]:
    """The variables of the root module, by name. `sources`: files by name. Raises nothing."""
    merged = merge_variables(sources)
    return tuple(_variable(name, merged[name]) for name in sorted(merged))


def list_backends(sources: Mapping[str, bytes]) -> tuple[str, ...]:
    """The override files that say where the state is kept: the last of all wins."""
    return tuple(
        name
        for name in in_merge_order(sources)
        if is_override(name)
        and any(
            block.kind == "terraform" and block.blocks & {"backend", "cloud"}
            for block in read_file_blocks(name, sources[name])
        )
    )


def _variable(name: str, attributes: Mapping[str, str]) -> Variable:
    sensitive = says_yes(attributes.get("sensitive"))
    default = attributes.get("default")
    return Variable(
        name=name,
        type=_shown(attributes.get("type", "")),
        default=None if default is None or sensitive else _shown(default),
        description=_shown(attributes.get("description", "")),
        sensitive=sensitive,
        required=default is None,
        ephemeral=says_yes(attributes.get("ephemeral")),
    )


def _shown(text: str) -> str:
    found = literal(text)
    return (text if found is None else found).strip()[:_TEXT_MAX]
