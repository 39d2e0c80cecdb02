"""Finds in a state what nobody is to read in a log. Pure.

Format version 4 names the paths of such values in each instance, and marks outputs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from kled_coord.builds.states.instances import path_of

_MOST: Final = 1000
# Shorter ones are words of any text; a template that takes them for secret hides them by its
# variables.
_SHORTEST: Final = 6
# A script that has a secret in it is not one: its lines are words of any output.
_SCRIPTS: Final = frozenset({"script", "startup_script", "shutdown_script", "init_script"})
# Always sensitive, also where an older Terraform does not say so.
_TOKEN: Final = (("token",),)


def sensitive_values(state: Mapping[str, Any]) -> list[str]:
    """The texts among the values that Terraform knows to be sensitive, each once."""
    return list(dict.fromkeys(_texts(state)))[:_MOST]


def _texts(state: Mapping[str, Any]) -> Iterator[str]:
    for output in (state.get("outputs") or {}).values():
        if output.get("sensitive"):
            yield from _leaves(output.get("value"))
    for resource in state.get("resources", []):
        is_agent = str(resource.get("type", "")).endswith("_agent")
        for instance in resource.get("instances", []):
            found = map(path_of, instance.get("sensitive_attributes") or ())
            for path in (*found, *(_TOKEN if is_agent else ())):
                if path and path[0] not in _SCRIPTS and path[-1] not in _SCRIPTS:
                    yield from _leaves(_at(instance.get("attributes"), path))


def _at(value: Any, path: tuple[Any, ...]) -> Any:
    for step in path:
        # A value of a dynamic type is stored with its type.
        if isinstance(value, dict) and value.keys() == {"value", "type"} and step not in value:
            value = value["value"]
        try:
            value = value[step]
        except (LookupError, TypeError):
            return None
    return value


def _leaves(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        if len(value) >= _SHORTEST:
            yield value
    elif isinstance(value, dict):
        for name, item in value.items():
            if name not in _SCRIPTS:
                yield from _leaves(item)
    elif isinstance(value, list):
        for item in value:
            yield from _leaves(item)
