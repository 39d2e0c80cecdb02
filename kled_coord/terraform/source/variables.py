"""The `variable` blocks of a module, as Terraform merges them. Evaluates nothing.

Override files come last, attribute by attribute, and what the module's own `.tfvars` sets stands as
the default (https://developer.hashicorp.com/terraform/language/files/override). Terraform alone
says whether they are right and what they mean.
"""

from __future__ import annotations

import re
import tarfile
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Final

from kled_coord.terraform.source.archive import read_files
from kled_coord.terraform.source.blocks import is_source, read_file_blocks, read_values
from kled_coord.terraform.source.hcl import literal

_NAME: Final = re.compile(r"[^\W\d][\w-]{0,254}")


def is_values(name: str) -> bool:
    """Whether Terraform reads values from a file of that name without an argument."""
    plain = name.removesuffix(".json")
    return plain == "terraform.tfvars" or plain.endswith(".auto.tfvars")


def is_override(name: str) -> bool:
    """Whether Terraform merges a file of that name into the others."""
    stem = name.removesuffix(".json").removesuffix(".tf")
    return stem == "override" or stem.endswith("_override")


def in_merge_order(sources: Iterable[str]) -> list[str]:
    """The files of a module that Terraform reads, those that win last."""
    return sorted((n for n in sources if is_source(n)), key=lambda n: (is_override(n), n))


def merge_variables(sources: Mapping[str, bytes]) -> dict[str, dict[str, str]]:
    """The attributes of each variable as source text. `sources`: files by name. Raises nothing."""
    merged: dict[str, dict[str, str]] = {}
    for name in in_merge_order(sources):
        for block in read_file_blocks(name, sources[name]):
            label = block.labels[0] if block.labels else ""
            if block.kind != "variable" or not _NAME.fullmatch(label):
                continue
            if not is_override(name):
                merged.setdefault(label, dict(block.attributes))
            elif label in merged:
                merged[label] |= block.attributes
    for name in sorted(filter(is_values, sources), key=lambda n: (".auto." in n, n)):
        for label, text in read_values(name, sources[name]):
            if label in merged:
                merged[label]["default"] = text
    return merged


def says_yes(text: str | None) -> bool:
    """Whether an attribute is or may be true: an expression counts as true."""
    return text is not None and text not in {"false", '"false"', "null"}


def sensitive_defaults(archive: bytes) -> list[str]:
    """What a template, a tar, gives to its own sensitive variables, and to those of its modules.

    A string's value, else source text. Blocks for as long as the template is large. Raises nothing.
    """
    modules: dict[str, dict[str, bytes]] = defaultdict(dict)
    try:
        files = read_files(archive, lambda name: is_source(name) or is_values(name))
    except tarfile.TarError:  # an older release kept what it was given
        return []
    for path, content in files.items():
        directory, _, name = path.rpartition("/")
        modules[directory][name] = content
    return [
        text if (found := literal(text)) is None else found
        for sources in modules.values()
        for attributes in merge_variables(sources).values()
        if says_yes(attributes.get("sensitive")) or says_yes(attributes.get("ephemeral"))
        for text in [attributes.get("default", "")]
        if text
    ]
