"""Parses those parts of a Terraform state (format version 4) on which a decision depends."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any


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
