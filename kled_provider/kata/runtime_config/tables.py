"""One configuration as its tables, under the names that the blocks of a template have.

runtime-rs has a table for the hypervisor's name (`[hypervisor.clh]`) and for the agent's
(`[agent.kata]`); a template has `hypervisor { kind = "clh" }` and `agent { }`. TOML's values go
both ways unchanged: a key that the tables of keys lack is kept.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal
from typing import Any

from kled_provider.kata.runtime_config.keys import HYPERVISORS
from kled_provider.kata.runtime_config.other_keys import REPEATED, TABLES

Toml = dict[str, Any]
# By the name of a table (other_keys.TABLES): its values by key, or a list of such where the table
# repeats.
Tables = dict[str, Any]

AGENT_NAME = "kata"
RUNTIME_NAME = "virt_container"
# The keys that say which tables count; a template cannot set them.
_NAMES = ("name", "hypervisor_name", "agent_name")
# An older name of a key, as the shipped files have it, and ours.
_ALIASES = {"mem_agent_enable": "enable"}


def merge(lower: Mapping[str, Any], higher: Mapping[str, Any]) -> Toml:
    """Merge as Kata does a drop-in: tables key by key; any other value, arrays too, is replaced."""
    merged = dict(lower)
    for key, value in higher.items():
        below = merged.get(key)
        if isinstance(below, Mapping) and isinstance(value, Mapping):
            merged[key] = merge(below, value)
        else:
            merged[key] = value
    return merged


def hypervisor_of(config: Mapping[str, Any]) -> str:
    """Return `hypervisor_name` of a configuration; "" where it has none."""
    found = _table(config, "runtime").get("hypervisor_name", "")
    return found if isinstance(found, str) else ""


def parsed_toml(text: str) -> Toml:
    """Parse TOML that has been checked, as the owner's file's."""
    return tomllib.loads(text)


def to_toml(
    hypervisor: str, tables: Mapping[str, Any], *, like: Mapping[str, Any] | None = None
) -> Toml:
    """Make the configuration that has these tables, with the names that Kata wants.

    What is merged with `like` has to name keys as that does: Kata refuses one key by two names.
    """
    config: Toml = {}
    for name, values in tables.items():
        at = config
        *above, last = _place(name, hypervisor)
        for step in above:
            at = at.setdefault(step, {})
        if name in REPEATED:
            at[last] = values
        else:
            at.setdefault(last, {}).update(values)
    mem_agent = (like or {}).get("agent", {}).get(AGENT_NAME, {}).get("mem_agent", {})
    for alias, key in _ALIASES.items():
        ours = config.get("agent", {}).get(AGENT_NAME, {}).get("mem_agent", {})
        if alias in mem_agent and key in ours:
            ours[alias] = ours.pop(key)
    names = {"name": RUNTIME_NAME, "hypervisor_name": hypervisor, "agent_name": AGENT_NAME}
    config["runtime"] = {**names, **config.get("runtime", {})}
    return config


def tables_of(hypervisor: str, config: Mapping[str, Any]) -> Tables:
    """Return the tables of a configuration that count for the hypervisor."""
    found: Tables = {}
    for name in TABLES:
        at: Any = config
        for step in _place(name, hypervisor):
            at = at.get(step) if isinstance(at, Mapping) else None
        if name in REPEATED:
            found[name] = [item for item in at or () if isinstance(item, Mapping)]
            continue
        within = {
            other.removeprefix(f"{name}.") for other in TABLES if other.startswith(f"{name}.")
        }
        values = {_ALIASES.get(k, k): v for k, v in (at or {}).items() if k not in within}
        found[name] = {k: v for k, v in values.items() if name != "runtime" or k not in _NAMES}
    return found


def unknown_keys(config: Mapping[str, Any]) -> Iterator[str]:
    """Name what Kata does not know, dotted: it ignores such a key, or refuses all."""
    known = {_place(name, kind): keys for name, keys in TABLES.items() for kind in HYPERVISORS}
    yield from _unknown(config, (), known)


def _unknown(
    values: Mapping[str, Any], place: tuple[str, ...], known: Mapping[tuple[str, ...], Any]
) -> Iterator[str]:
    keys = {key.name for key in known.get(place, ())}
    if place == ("runtime",):
        keys |= set(_NAMES)
    for key, value in values.items():
        here = (*place, key)
        if any(table[: len(here)] == here for table in known):
            inner: Iterable[Any] = value if isinstance(value, list) else [value]
            for item in inner:
                if isinstance(item, Mapping):
                    yield from _unknown(item, here, known)
        elif _ALIASES.get(key, key) not in keys:
            yield ".".join(here)


def plain_values(block: Mapping[str, Any]) -> Toml:
    """Return what a block of a template sets: what is null is left out, numbers are TOML's."""
    return {key: _plain(value) for key, value in block.items() if value is not None}


def _plain(value: Any) -> Any:
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, Decimal | float) and value == int(value):
        return int(value)
    return float(value) if isinstance(value, Decimal) else value


def _place(name: str, hypervisor: str) -> tuple[str, ...]:
    first, *rest = name.split(".")
    named = {"hypervisor": hypervisor, "agent": AGENT_NAME}.get(first)
    return (first, named, *rest) if named else (first, *rest)


def _table(config: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = config.get(name, {})
    return found if isinstance(found, Mapping) else {}
