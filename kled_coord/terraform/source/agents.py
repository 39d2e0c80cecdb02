"""Names the agents and apps of a template, and refuses two of one name. Pure.

A plan's format: https://developer.hashicorp.com/terraform/internals/json-format.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any, Final

from kled_wire.errors import InputError

_AGENTS: Final = ("kled_agent", "coder_agent")
_APPS: Final = ("kled_app", "coder_app")
_NAME_MAX: Final = 32
# The name of an agent has a default in the provider `kled`: a missing name is not known yet.
_NAMED: Final = "kled_agent"


def is_agent(address: str) -> bool:
    """Whether the resource of that address is an agent."""
    return _is_of(address, _AGENTS)


def is_app(address: str) -> bool:
    """Whether the resource of that address is an app."""
    return _is_of(address, _APPS)


def name_of_label(label: str) -> str:
    """The label of a resource, with the index of an instance, as what a host name can hold."""
    name = re.sub(r"[^a-z0-9]+", "-", label.lower()).strip("-")
    return name[:_NAME_MAX].rstrip("-") or "agent"


def planned_agents(plan: bytes) -> list[tuple[str, str]]:
    """Name and address of each agent that there is after a plan, which `show -json` printed.

    Those whose name is not known yet are left out; none of what is no plan. Raises nothing.
    """
    return _planned(plan, _AGENTS, _agent_name)


def planned_apps(plan: bytes) -> list[tuple[str, str]]:
    """The same of apps, by their slugs."""
    return _planned(plan, _APPS, lambda resource: (resource.get("values") or {}).get("slug"))


def refuse_shared_slugs(apps: Iterable[tuple[str, str]], places: Mapping[str, str]) -> None:
    """Raise InputError("template_invalid") where two apps of an agent have one slug."""
    first: dict[str, str] = {}
    for slug, address in apps:
        if slug in first:
            both = f"two apps have the slug {slug}: {first[slug]} and {address}"
            place = places.get(address)
            raise InputError("template_invalid", f"{place}: {both}" if place else both)
        first[slug] = address


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


def _is_of(address: str, types: Iterable[str]) -> bool:
    pattern = rf"(?:.*\.)?(?:{'|'.join(types)})\.[^.\[\]]+(?:\[.*\])?"
    return re.fullmatch(pattern, address) is not None


def _planned(
    plan: bytes, types: Collection[str], name_of: Callable[[Mapping[str, Any]], str | None]
) -> list[tuple[str, str]]:
    """The names and addresses of the resources of some types; none of what is no plan."""
    try:
        resources = list(_resources(json.loads(plan)["planned_values"]["root_module"]))
        found = [(name_of(r), r["address"]) for r in resources if r["type"] in types]
        return sorted((name, address) for name, address in found if name is not None)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return []


def _resources(module: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for resource in module.get("resources") or ():
        if resource["mode"] == "managed":
            yield resource
    for child in module.get("child_modules") or ():
        yield from _resources(child)


def _agent_name(resource: Mapping[str, Any]) -> str | None:
    said: str | None = (resource.get("values") or {}).get("name")
    if said is None and resource["type"] == _NAMED:
        return None
    index = resource.get("index")
    return said or name_of_label(
        resource["name"] if index is None else f"{resource['name']}-{index}"
    )
