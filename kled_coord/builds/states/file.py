"""Parses those parts of a Terraform state (format version 4) on which a decision depends."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from kled_wire.errors import InputError

_FORMAT: Final = 4


def managed_instances(state: Mapping[str, Any]) -> frozenset[str]:
    """Each thing that Terraform made, by its address and its own id, as text to compare.

    A state in another shape counts as one thing, so that nothing is taken for empty by mistake.
    """
    try:
        return frozenset(
            _identity(resource, instance)
            for resource in state.get("resources", [])
            if resource["mode"] == "managed"
            for instance in resource["instances"]
        )
    except (AttributeError, KeyError, TypeError):
        return frozenset({json.dumps(state, sort_keys=True)})


def check_state(content: bytes) -> dict[str, Any]:
    """Read a state that somebody brings. Raises InputError("state_invalid")."""
    try:
        state = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise _invalid(f"the state is no JSON: {error}") from error
    if not isinstance(state, dict) or state.get("version") != _FORMAT:
        raise _invalid(f"the state is not of Terraform's format {_FORMAT}")
    serial, lineage = state.get("serial"), state.get("lineage")
    if type(serial) is not int or serial < 0 or not isinstance(lineage, str) or not lineage:
        raise _invalid("the state has no serial, or no lineage")
    if not _has_resources(state.get("resources")):
        raise _invalid("the resources of the state cannot be read")
    return state


def _invalid(why: str) -> InputError:
    return InputError("state_invalid", why, hint="begin with what kled state pull WORKSPACE gives")


def _has_resources(found: object) -> bool:
    """Whether these are resources as Terraform writes them."""
    return isinstance(found, list) and all(
        isinstance(each, dict)
        and all(isinstance(each.get(name), str) for name in ("mode", "type", "name"))
        and isinstance(each.get("instances"), list)
        and all(isinstance(instance, dict) for instance in each["instances"])
        for each in found
    )


def is_successor(kept: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    """Whether `new` follows `kept` by Terraform's own counting (lineage and serial)."""
    old_serial, serial = kept.get("serial"), new.get("serial")
    follows = isinstance(old_serial, int) and isinstance(serial, int) and serial > old_serial
    return follows and kept.get("lineage") == new.get("lineage")


def loses_nothing(kept: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    """Whether everything that `new` names is in `kept` as well."""
    return managed_instances(new) <= managed_instances(kept)


def _identity(resource: Mapping[str, Any], instance: Mapping[str, Any]) -> str:
    address = (resource.get("module"), resource["type"], resource["name"])
    index = (instance.get("index_key"), instance.get("deposed"))
    # Without an id all of its attributes tell it from another.
    attributes = instance.get("attributes")
    identity = attributes.get("id") if isinstance(attributes, dict) else None
    return json.dumps([address, index, identity or instance], sort_keys=True)
