"""Lists what Terraform manages according to a state (format version 4). Pure.

The resources are those of the provider `kled`, or of `coder`, which have the same attributes and
some more names from earlier versions.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

_PREFIXES: Final = ("kled_", "coder_")
# The index of an instance or of a module in an address.
_INDEX: Final = re.compile(r'\[(?:\d+|"(?:[^"\\]|\\.)*")\]')


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """One instance of a resource. `address` is where the template has it, `type` its own.

    `depends_on` has the places in the configuration of all that it refers to, `place` is its own:
    an address without indexes.
    """

    kind: str  # without the provider's prefix; "" for what is not ours
    type: str
    address: str
    place: str
    label: str
    values: Mapping[str, Any]
    depends_on: frozenset[str]
    sensitive: frozenset[tuple[Any, ...]]  # paths of values that are no one's to see


def instances_of(state: Mapping[str, Any]) -> Iterator[Instance]:
    """Every instance that is not to be destroyed, in the state's order."""
    for resource in state.get("resources", []):
        if resource["mode"] != "managed":
            continue
        kind = next(
            (resource["type"].removeprefix(p) for p in _PREFIXES if resource["type"].startswith(p)),
            "",
        )
        module = f"{resource['module']}." if resource.get("module") else ""
        address = f"{module}{resource['type']}.{resource['name']}"
        for instance in resource["instances"]:
            if "deposed" in instance:
                continue
            key = instance.get("index_key")
            index = "" if key is None else f"[{json.dumps(key)}]"
            yield Instance(
                kind=kind,
                type=resource["type"],
                address=f"{address}{index}",
                place=_INDEX.sub("", address),
                label=resource["name"] if key is None else f"{resource['name']}-{key}",
                values=instance.get("attributes") or {},
                depends_on=frozenset(instance.get("dependencies") or ()),
                sensitive=frozenset(map(path_of, instance.get("sensitive_attributes") or ())),
            )


def text_of(values: Mapping[str, Any], name: str) -> str:
    """A string among an instance's values; "" where there is none."""
    value = values.get(name)
    return value if isinstance(value, str) else ""


def number_of(values: Mapping[str, Any], name: str, default: int = 0) -> int:
    """A whole number among an instance's values, rounded towards zero."""
    value = values.get(name)
    return default if value is None else int(value)


def path_of(steps: list[Mapping[str, Any]]) -> tuple[Any, ...]:
    """The names and indexes of a path; Terraform writes an index as a value with its type."""
    found = (step.get("value") for step in steps)
    return tuple(value.get("value") if isinstance(value, dict) else value for value in found)
