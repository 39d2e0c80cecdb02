"""The declarations of a template: its variables, and whether a file has a backend of its own.

Lists the `variable` blocks of the root module, in `.tf` and `.tf.json`, as Terraform merges them
(override files last, attribute by attribute), and what the template's own `.tfvars` sets. Terraform
alone says whether they are right and what they mean.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final

from kled_coord.store.template_records import Variable
from kled_coord.terraform.source.blocks import is_source, read_file_blocks, read_values
from kled_coord.terraform.source.hcl import literal

# More is cut off: these are for people to read.
_TEXT_MAX: Final = 4096
_NAME: Final = re.compile(r"[^\W\d][\w-]{0,254}")


def is_values(name: str) -> bool:
    """Whether Terraform takes values from a file of that name without being told to."""
    plain = name.removesuffix(".json")
    return plain == "terraform.tfvars" or plain.endswith(".auto.tfvars")


def list_variables(sources: Mapping[str, bytes]) -> tuple[Variable, ...]:
    """The variables of the root module, by name. `sources`: files by name. Raises nothing."""
    merged: dict[str, dict[str, str]] = {}
    for name in _in_order(sources):
        for block in read_file_blocks(name, sources[name]):
            label = block.labels[0] if block.labels else ""
            if block.kind != "variable" or not _NAME.fullmatch(label):
                continue
            if not _is_override(name):
                merged.setdefault(label, dict(block.attributes))
            elif label in merged:
                merged[label] |= block.attributes
    for name in sorted(filter(is_values, sources), key=lambda n: (".auto." in n, n)):
        for label, text in read_values(name, sources[name]):
            if label in merged:
                merged[label]["default"] = text
    return tuple(_variable(name, merged[name]) for name in sorted(merged))


def list_backends(sources: Mapping[str, bytes]) -> tuple[str, ...]:
    """The override files that say where the state is kept: the last of all wins."""
    return tuple(
        name
        for name in _in_order(sources)
        if _is_override(name)
        and any(
            block.kind == "terraform" and block.blocks & {"backend", "cloud"}
            for block in read_file_blocks(name, sources[name])
        )
    )


def _in_order(sources: Iterable[str]) -> list[str]:
    return sorted((n for n in sources if is_source(n)), key=lambda n: (_is_override(n), n))


def _is_override(name: str) -> bool:
    stem = name.removesuffix(".json").removesuffix(".tf")
    return stem == "override" or stem.endswith("_override")


def _variable(name: str, attributes: Mapping[str, str]) -> Variable:
    sensitive = _says_yes(attributes.get("sensitive"))
    default = attributes.get("default")
    return Variable(
        name=name,
        type=_shown(attributes.get("type", "")),
        default=None if default is None or sensitive else _shown(default),
        description=_shown(attributes.get("description", "")),
        sensitive=sensitive,
        required=default is None,
        ephemeral=_says_yes(attributes.get("ephemeral")),
    )


def _says_yes(text: str | None) -> bool:
    """Whether an attribute may be true. What only an evaluation could tell counts as true."""
    return text is not None and text not in {"false", '"false"', "null"}


def _shown(text: str) -> str:
    found = literal(text)
    return (text if found is None else found).strip()[:_TEXT_MAX]
