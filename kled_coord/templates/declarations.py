"""What a template declares: its variables, and whether a file would keep its state elsewhere.

Lists the `variable` blocks of the root module, in `.tf` and `.tf.json`, as Terraform merges them
(override files last, attribute by attribute), and what the template's own `.tfvars` sets. Terraform
alone says whether they are right and what they mean.
JSON: https://developer.hashicorp.com/terraform/language/syntax/json.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from kled_coord.store.records import Variable
from kled_coord.templates.hcl import HclBlock, literal, read_attributes, read_blocks

SUFFIXES: Final = (".tf", ".tf.json")
# More is cut off: these are for people to read.
_TEXT_MAX: Final = 4096
_NAME: Final = re.compile(r"[^\W\d][\w-]{0,254}")


def is_source(name: str) -> bool:
    """Whether Terraform reads a file of that name at the top of a template."""
    hidden_or_draft = name.startswith(".") or (name.startswith("#") and name.endswith("#"))
    return name.endswith(SUFFIXES) and not hidden_or_draft


def is_values(name: str) -> bool:
    """Whether Terraform takes values from a file of that name without being told to."""
    plain = name.removesuffix(".json")
    return plain == "terraform.tfvars" or plain.endswith(".auto.tfvars")


def list_variables(sources: Mapping[str, bytes]) -> tuple[Variable, ...]:
    """The variables of the root module, by name. `sources`: files by name. Raises nothing."""
    merged: dict[str, dict[str, str]] = {}
    for name in _in_order(sources):
        for block in _read(name, sources[name]):
            label = block.labels[0] if block.labels else ""
            if block.kind != "variable" or not _NAME.fullmatch(label):
                continue
            if not _is_override(name):
                merged.setdefault(label, dict(block.attributes))
            elif label in merged:
                merged[label] |= block.attributes
    for name in sorted(filter(is_values, sources), key=lambda n: (".auto." in n, n)):
        for label, text in _read_values(name, sources[name]):
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
            for block in _read(name, sources[name])
        )
    )


def _in_order(sources: Iterable[str]) -> list[str]:
    return sorted((n for n in sources if is_source(n)), key=lambda n: (_is_override(n), n))


def _is_override(name: str) -> bool:
    stem = name.removesuffix(".json").removesuffix(".tf")
    return stem == "override" or stem.endswith("_override")


def _read(name: str, content: bytes) -> Iterable[HclBlock]:
    text = content.decode("utf-8", "replace")
    return _read_json(_load(text)) if name.endswith(".json") else read_blocks(text)


def _read_values(name: str, content: bytes) -> Iterable[tuple[str, str]]:
    text = content.decode("utf-8", "replace")
    if name.endswith(".json"):
        return [(label, _json_text(value)) for label, value in _pairs(_load(text))]
    return read_attributes(text).items()


class _Pairs(list[tuple[str, Any]]):
    """A JSON object with every key it has: HCL takes a repeated one as a further block."""


def _load(text: str) -> object:
    try:
        return json.loads(text.removeprefix("\ufeff"), object_pairs_hook=_Pairs)
    except (ValueError, RecursionError):
        return None


def _read_json(root: object) -> Iterator[HclBlock]:
    for kind, value in _pairs(root):
        if kind == "variable":
            for label, body in _pairs(value):
                attributes = {key: _json_text(item) for key, item in _pairs(body)}
                yield HclBlock(
                    kind=kind, labels=(label,), attributes=attributes, blocks=frozenset()
                )
        else:
            inside = frozenset(key for key, _ in _pairs(value))
            yield HclBlock(kind=kind, labels=(), attributes={}, blocks=inside)


def _pairs(value: object) -> Iterator[tuple[str, Any]]:
    """The members of an object, or of each object of a list: both stand for blocks."""
    if isinstance(value, _Pairs):
        yield from value
    elif isinstance(value, list):
        for item in value:
            if isinstance(item, _Pairs):
                yield from item


def _json_text(value: object) -> str:
    """An attribute as HCL would have it: a string quoted, so that both syntaxes read alike."""
    if isinstance(value, _Pairs):
        members = ", ".join(f"{json.dumps(k)}: {_json_text(v)}" for k, v in value)
        return f"{{{members}}}"
    if isinstance(value, list):
        return f"[{', '.join(map(_json_text, value))}]"
    return json.dumps(value, ensure_ascii=False)


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
