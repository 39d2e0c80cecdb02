"""Lists what Terraform has made for a workspace, from its state. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from kled_coord.builds.states.instances import instances_of
from kled_wire.text import printable

RESOURCES_MAX: Final = 1000
_ADDRESS_MAX: Final = 500


def applied_resources(state: Mapping[str, Any]) -> list[dict[str, str]]:
    """`address` and `type` of each instance, by address; at most RESOURCES_MAX."""
    found = sorted((instance.address, instance.type) for instance in instances_of(state))
    return [
        {"address": printable(address[:_ADDRESS_MAX]), "type": kind[:_ADDRESS_MAX]}
        for address, kind in found[:RESOURCES_MAX]
    ]
