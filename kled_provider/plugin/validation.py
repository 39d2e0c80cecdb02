"""Validates a configuration against the schema, and warns of attributes without effect.

Terraform checks types, required attributes and numbers of blocks itself, before it asks.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

from kled_provider.plugin.diagnostics import Diagnostic, MapKey, Path
from kled_provider.plugin.schema import Attribute, Block, Body, NestedObject, Nesting
from kled_provider.plugin.values import Values, is_known

_Found = tuple[Path, Attribute | Block, Any]


def validate_config(body: Body, config: Values) -> list[Diagnostic]:
    """Say what is wrong with the values that are known."""
    found = [
        Diagnostic(summary=summary, detail=detail, path=path)
        for path, item, value in _set_items(body, config, ())
        for summary, detail in _problems(item, value)
    ]
    return at_lines(body, config, found)


def at_lines(body: Body, config: Values, found: Iterable[Diagnostic]) -> list[Diagnostic]:
    """Point each diagnostic at what Terraform finds a line for."""
    return [replace(each, path=_pointable(body, each.path, config)) for each in found]


def _problems(item: Attribute | Block, value: Any) -> Iterator[tuple[str, str]]:
    if item.unsupported:
        yield f"{item.name} is not supported", item.unsupported
    elif isinstance(item, Attribute) and item.check is not None and is_known(value):
        problem = item.check(value)
        if problem:
            yield f"Invalid {item.name}", problem


def _pointable(body: Body, path: Path, config: Values) -> Path:
    """Make a path one that Terraform finds a line for.

    It finds one for an attribute, and of its value one step at most. A block is shown by the first
    of its attributes that is set.
    """
    blocks, at = {block.name: block for block in body.blocks}, config
    for position, step in enumerate(path):
        at = _below(at, step)
        if not isinstance(step, str):
            continue
        if step not in blocks:
            inside = path[position + 1 : position + 2]
            return path[: position + 1] + tuple(s for s in inside if not isinstance(s, str))
        blocks = {block.name: block for block in blocks[step].blocks}
    within = at if path and isinstance(at, dict) else {}
    return (*path, *[name for name, value in within.items() if value not in (None, [])][:1])


def _below(value: Any, step: str | int | MapKey) -> Any:
    """What a step of a path leads to; None where that is not known."""
    if isinstance(step, str) and isinstance(value, dict):
        return value.get(step)
    if isinstance(step, int) and isinstance(value, list) and step < len(value):
        return value[step]
    return None


def ignored_items(body: Body, config: Values) -> list[tuple[str, str]]:
    """Name what is set and does nothing, by dotted path, and why."""
    return [
        (".".join(step for step in path if isinstance(step, str)), item.ignored)
        for path, item, _value in _set_items(body, config, ())
        if item.ignored
    ]


def _set_items(body: Body, config: Values, path: Path) -> Iterator[_Found]:
    """Everything that a person wrote, with where it stands."""
    for attribute in body.attributes:
        value, here = config[attribute.name], (*path, attribute.name)
        if value is None or not attribute.is_settable:
            continue
        yield here, attribute, value
        if attribute.nested is not None:
            yield from _within(attribute.nested, value, here)
    for block in body.blocks:
        value, here = config[block.name], (*path, block.name)
        if value not in (None, []):
            yield here, block, value
            yield from _within(block, value, here)


def _within(nested: NestedObject | Block, value: Any, path: Path) -> Iterator[_Found]:
    for element, here in _elements(nested, value, path):
        if isinstance(element, dict):
            yield from _set_items(nested, element, here)


def _elements(nested: NestedObject | Block, value: Any, path: Path) -> list[tuple[Any, Path]]:
    if nested.nesting is Nesting.MAP and isinstance(value, dict):
        return [(item, (*path, MapKey(name))) for name, item in value.items()]
    if nested.nesting is Nesting.LIST and isinstance(value, list):
        return [(item, (*path, index)) for index, item in enumerate(value)]
    if nested.nesting is Nesting.SET and isinstance(value, list):
        return [(item, path) for item in value]
    return [(value, path)]
