"""What a change will do: the planned object, and which attributes force a new one.

Terraform's rules: a value set in the configuration is planned as it is; a computed one may be
planned as unknown; a known planned value must come back unchanged from apply; on an update without
a reason to change, computed values stay as they were, or every plan would show a difference.
"""

from __future__ import annotations

from dataclasses import dataclass

from kled_provider.plugin.diagnostics import Path
from kled_provider.plugin.schema import Attribute, Schema
from kled_provider.plugin.values import UNKNOWN, Values


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The object as it will be, and the paths whose change means destroy and create."""

    planned: Values
    requires_replace: tuple[Path, ...] = ()


def plan_change(schema: Schema, prior: Values | None, config: Values) -> Plan:
    """Plan a create (`prior` is None) or an update of the object to what `config` says."""
    set_by_person = {a.name: _as_configured(a, config) for a in schema.attributes}
    if prior is None:
        return Plan(planned=set_by_person)
    changed = {
        a.name
        for a in schema.attributes
        if not _is_ours(a, config) and set_by_person[a.name] != prior[a.name]
    }
    replaced = [a.name for a in schema.attributes if a.forces_replacement and a.name in changed]
    planned = dict(set_by_person)
    for attribute in schema.attributes:
        stays = not replaced and not (changed and attribute.follows_others)
        if _is_ours(attribute, config) and stays:
            planned[attribute.name] = prior[attribute.name]
    return Plan(planned=planned, requires_replace=tuple((name,) for name in replaced))


def _is_ours(attribute: Attribute, config: Values) -> bool:
    """Whether the value is for the provider to say, not given by the person nor a default."""
    return attribute.computed and config[attribute.name] is None and attribute.default is None


def _as_configured(attribute: Attribute, config: Values) -> object:
    value = config[attribute.name]
    if value is None and attribute.computed:
        return UNKNOWN if attribute.default is None else attribute.default
    return value
