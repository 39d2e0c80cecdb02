"""Plans a change: the planned object, and the attributes that force a replacement.

Terraform's rules: a value set in the configuration is planned as it is; a computed one may be
planned as unknown; a known planned value must come back unchanged from apply; on an update without
a reason to change, computed values stay as they were, or every plan would show a difference. Blocks
are as the configuration has them, each with its own computed values.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from kled_provider.plugin.diagnostics import Diagnostic, Path
from kled_provider.plugin.schema import Attribute, Block, Body, NestedObject, Nesting, Schema
from kled_provider.plugin.values import UNKNOWN, Values, in_one_order

# Whether a value that is the provider's to say has to be said anew.
_Renewed = Callable[[Attribute], bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourcePlan:
    """The object as it will be, the paths whose change means destroy and create, and warnings."""

    planned: Values
    requires_replace: tuple[Path, ...] = ()
    diagnostics: tuple[Diagnostic, ...] = ()


def plan_change(schema: Schema, prior: Values | None, config: Values) -> ResourcePlan:
    """Plan a create (`prior` is None) or an update of the object to what `config` says."""
    kept = _body(schema, prior, config, lambda _attribute: False)
    if prior is None or kept == prior:
        return ResourcePlan(planned=kept)
    replaced = tuple(_replaced(schema, prior, kept, ()))
    if replaced:
        planned = _body(schema, prior, config, lambda _attribute: True)
    else:
        changed = {name for name in kept if kept[name] != prior[name]}
        planned = _body(schema, prior, config, lambda a: not changed.isdisjoint(a.follows))
    return ResourcePlan(planned=planned, requires_replace=replaced)


def with_defaults(schema: Schema, config: Values) -> Values:
    """What a data source was asked, with the defaults of what was not said; the rest is unknown."""
    return _body(schema, None, config, lambda _attribute: True)


def _body(body: Body, prior: Values | None, config: Values, renewed: _Renewed) -> Values:
    planned: Values = {}
    for attribute in body.attributes:
        before = UNKNOWN if prior is None else prior[attribute.name]
        planned[attribute.name] = _attribute(attribute, before, config[attribute.name], renewed)
    for block in body.blocks:
        before = None if prior is None else prior[block.name]
        planned[block.name] = _nested(block, before, config[block.name], renewed)
    return planned


def _attribute(attribute: Attribute, prior: Any, value: Any, renewed: _Renewed) -> Any:
    if attribute.write_only:
        return None
    if value is None and attribute.computed:
        if attribute.default is not None:
            return attribute.default
        return UNKNOWN if renewed(attribute) else prior
    if attribute.nested is not None:
        return _nested(attribute.nested, prior, value, renewed)
    return value


def _nested(nested: NestedObject | Block, prior: Any, value: Any, renewed: _Renewed) -> Any:
    """Each object with the one that was there before: at the same index or key."""
    if value is None or value is UNKNOWN:
        return value
    if nested.nesting is Nesting.SINGLE:
        return _element(nested, prior, value, renewed)
    if isinstance(value, dict):
        before = prior if isinstance(prior, dict) else {}
        return {k: _element(nested, before.get(k), item, renewed) for k, item in value.items()}
    earlier = iter(prior if isinstance(prior, list) else ())
    items = [_element(nested, next(earlier, None), item, renewed) for item in value]
    return in_one_order(items) if nested.nesting is Nesting.SET else items


def _element(body: Body, prior: Any, value: Any, renewed: _Renewed) -> Any:
    if not isinstance(value, dict):
        return value
    return _body(body, prior if isinstance(prior, dict) else None, value, renewed)


def _replaced(body: Body, prior: Values, kept: Values, path: Path) -> Iterator[Path]:
    for item in body.items():
        before, after, here = prior[item.name], kept[item.name], (*path, item.name)
        nested = item if isinstance(item, Block) else item.nested
        if before == after:
            continue
        if item.forces_replacement:
            yield here
        elif nested is not None:
            yield from _replaced_within(nested, before, after, here)


def _replaced_within(
    nested: NestedObject | Block, before: Any, after: Any, path: Path
) -> Iterator[Path]:
    """Look for what forces a new object in each element that was there and still is."""
    pairs: list[tuple[Any, Any, Path]] = []
    if nested.nesting is Nesting.SINGLE:
        pairs = [(before, after, path)]
    elif isinstance(before, list) and isinstance(after, list):
        pairs = [(b, a, (*path, i)) for i, (b, a) in enumerate(zip(before, after, strict=False))]
    for b, a, here in pairs:
        if isinstance(b, dict) and isinstance(a, dict):
            for found in _replaced(nested, b, a, here):
                # An element of a set has no path: the whole set is named.
                yield path if nested.nesting is Nesting.SET else found
