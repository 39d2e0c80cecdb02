"""Lists the blocks of a template's file, in HCL's native syntax or JSON, without evaluation.

JSON: https://developer.hashicorp.com/terraform/language/syntax/json. There an attribute and a
block look alike: what is one of them is both.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

from kled_coord.exponents import is_huge
from kled_coord.terraform.source.hcl import HclBlock, exponents, read_attributes, read_blocks

SUFFIXES: Final = (".tf", ".tf.json")
# How many labels a block has, which in JSON are names of members.
_LABELS: Final = {"variable": 1, "module": 1, "data": 2, "resource": 2}


def is_source(name: str) -> bool:
    """Whether Terraform reads a file of that name in a module's directory."""
    hidden_or_draft = name.startswith(".") or (name.startswith("#") and name.endswith("#"))
    return name.endswith(SUFFIXES) and not hidden_or_draft


def read_file_blocks(name: str, content: bytes) -> Iterable[HclBlock]:
    """The blocks of a file of that name. Raises nothing."""
    text = content.decode("utf-8", "replace")
    return _read_json(_load(text)) if name.endswith(".json") else read_blocks(text)


def read_values(name: str, content: bytes) -> Iterable[tuple[str, str]]:
    """The values of a `.tfvars` or `.tfvars.json`, as source text by name. Raises nothing."""
    text = content.decode("utf-8", "replace")
    if name.endswith(".json"):
        return [(label, _json_text(value)) for label, value in _pairs(_load(text))]
    return read_attributes(text).items()


def huge_number(name: str, content: bytes) -> tuple[int, str] | None:
    """The first number of a file that Terraform would be busy with, behind its line, from 1.

    None where there is none. Raises nothing.
    """
    text = content.decode("utf-8", "replace")
    found = _json_exponents(text) if name.endswith(".json") else exponents(text)
    return next(((line, number) for line, number in found if is_huge(number)), None)


def _json_exponents(text: str) -> Iterator[tuple[int, str]]:
    numbers: list[str] = []
    _load(text, parse_float=numbers.append)
    for number in numbers:
        yield text.count("\n", 0, text.find(number)) + 1, number


class _Pairs(list[tuple[str, Any]]):
    """A JSON object with every key it has: HCL takes a repeated one as a further block."""


def _load(text: str, parse_float: Callable[[str], object] = float) -> object:
    text = text.removeprefix("\ufeff")
    try:
        return json.loads(text, object_pairs_hook=_Pairs, parse_float=parse_float)
    except (ValueError, RecursionError):
        return None


def _read_json(root: object) -> Iterator[HclBlock]:
    for kind, value in _pairs(root):
        yield from _read_labelled(kind, (), value, _LABELS.get(kind, 0))


def _read_labelled(
    kind: str, labels: tuple[str, ...], value: object, missing: int
) -> Iterator[HclBlock]:
    if missing:
        for label, inside in _pairs(value):
            yield from _read_labelled(kind, (*labels, label), inside, missing - 1)
        return
    members = dict(_pairs(value))
    attributes = {key: _json_text(item) for key, item in members.items()}
    yield HclBlock(kind=kind, labels=labels, attributes=attributes, blocks=frozenset(members))


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
