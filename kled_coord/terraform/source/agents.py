"""Names the agents of a template, and refuses two of one name. Pure.

A plan's format: https://developer.hashicorp.com/terraform/internals/json-format.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from kled_wire.errors import InputError

_TYPES: Final = ("kled_agent", "coder_agent")
_ADDRESS: Final = re.compile(rf"(?:.*\.)?(?:{'|'.join(_TYPES)})\.[^.\[\]]+(?:\[.*\])?")
_NAME_MAX: Final = 32
# The name of an agent has a default in the provider `kled`: a missing name is not known yet.
_NAMED: Final = "kled_agent"


def is_agent(address: str) -> bool:
    """Whether the resource of that address is an agent."""
    return _ADDRESS.fullmatch(address) is not None


def name_of_label(label: str) -> str:
    """The label of a resource, with the index of an instance, as what a host name can hold."""
    name = re.sub(r"[^a-z0-9]+", "-", label.lower()).strip("-")
    return name[:_NAME_MAX].rstrip("-") or "agent"


def planned_agents(plan: bytes) -> list[tuple[str, str]]:
    """Name and address of each agent that there is after a plan, which `show -json` printed.

    Those whose name is not known yet are left out; none of what is no plan. Raises nothing.
    """
    try:
        return sorted(_named(json.loads(plan)["planned_values"]["root_module"]))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return []


def refuse_shared_names(
    agents: Iterable[tuple[str, str]], places: Mapping[str, str] | None = None
) -> None:
    """Raise InputError("agent_name_taken") where two agents (name and address) have one name.

    `places` say in which line of the template an address stands, as far as that is known.
    """
    first: dict[str, str] = {}
    for name, address in agents:
        if name in first:
            place = (places or {}).get(address)
            both = f"two agents are called {name}: {first[name]} and {address}"
            raise InputError(
                "agent_name_taken",
                f"{place}: {both}" if place else both,
                hint="an agent without a name has the name of its resource; rename one of them",
            )
        first[name] = address


def _named(module: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for resource in module.get("resources") or ():
        if resource["mode"] != "managed" or resource["type"] not in _TYPES:
            continue
        said = (resource.get("values") or {}).get("name")
        if said is not None or resource["type"] != _NAMED:
            index = resource.get("index")
            label = resource["name"] if index is None else f"{resource['name']}-{index}"
            yield said or name_of_label(label), resource["address"]
    for child in module.get("child_modules") or ():
        yield from _named(child)
