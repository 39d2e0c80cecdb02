"""What a Terraform state says there is (format version 4), as far as anything is decided by it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any


def managed_instances(state: Mapping[str, Any]) -> frozenset[str]:
    """Each thing that Terraform made, as text to compare.

    A state in another shape counts as one thing, so that nothing is taken for empty by mistake.
    """
    try:
        return frozenset(
            json.dumps(
                [resource.get("module"), resource["type"], resource["name"], instance],
                sort_keys=True,
            )
            for resource in state.get("resources", [])
            if resource["mode"] == "managed"
            for instance in resource["instances"]
        )
    except (AttributeError, KeyError, TypeError):
        return frozenset({json.dumps(state)})
