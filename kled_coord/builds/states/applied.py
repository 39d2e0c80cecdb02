"""Reads the agents and resources of a workspace from a state (format version 4). Pure.

The resources are those of the provider `kled`, or of `coder`, which have the same attributes and
some more names from earlier versions.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from kled_wire.control.agent_spec import (
    SHUTDOWN_SCRIPT,
    STARTUP_SCRIPT,
    AgentSpec,
    App,
    HealthCheck,
    MetadataItem,
    Script,
    Threshold,
    to_plain,
)
from kled_wire.errors import InputError
from kled_wire.names import AgentId
from kled_wire.text import printable

_PREFIXES: Final = ("kled_", "coder_")
_NAME_MAX: Final = 32
# One control message has to hold it (kled_wire/limits.py), with what else is in that.
_SPEC_MAX_BYTES: Final = 768 * 1024
# Notes that are told, and characters of one item.
_NOTES_MAX: Final = 100
_NOTE_MAX: Final = 200
# Ways in that are shown where the template says nothing of them.
_DISPLAY_APPS: Final = ("vscode", "web_terminal", "ssh_helper", "port_forwarding_helper")


@dataclass(frozen=True, slots=True, kw_only=True)
class AppliedAgent:
    """An agent as a build has applied it. `address` is where the template has it."""

    name: str
    address: str
    spec: AgentSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class _Instance:
    kind: str  # without the provider's prefix; "" for what is not ours
    address: str
    label: str
    values: Mapping[str, Any]
    sensitive: frozenset[str]  # attributes with something in them that is no one's to see


def applied_agents(state: Mapping[str, Any], build_id: str) -> dict[AgentId, AppliedAgent]:
    """The agents of a state by id, each with all that belongs to it.

    Raises InputError: "agent_name_taken", "agent_spec_too_large", "variable_defined_twice".
    """
    instances = sorted(_instances(state), key=lambda instance: instance.address)
    found: dict[AgentId, AppliedAgent] = {}
    by_name: dict[str, str] = {}
    for instance in instances:
        agent_id = instance.values.get("id")
        if instance.kind != "agent" or not isinstance(agent_id, str):
            continue
        own = [i for i in instances if i.values.get("agent_id") == agent_id]
        name = instance.values.get("name") or _name_of(instance.label)
        if name in by_name:
            raise InputError(
                "agent_name_taken",
                f"two agents are called {name}: {by_name[name]} and {instance.address}",
                hint="an agent without a name has the name of its resource; rename one of them",
            )
        by_name[name] = instance.address
        spec = _spec(instance, own, build_id)
        found[AgentId(agent_id)] = AppliedAgent(name=name, address=instance.address, spec=spec)
    return found


def applied_notes(state: Mapping[str, Any]) -> tuple[str, ...]:
    """What the template notes on its resources, a line for each, without what is sensitive."""
    instances = sorted(_instances(state), key=lambda instance: instance.address)
    subjects = {i.values.get("id"): i.address for i in instances if i.kind != "metadata"}
    return tuple(
        f"{subjects[i.values['resource_id']]}: {', '.join(_said(i))}"
        for i in instances
        if i.kind == "metadata" and i.values.get("resource_id") in subjects
        if not i.values.get("hide") and any(_said(i))
    )[:_NOTES_MAX]


def _said(note: _Instance) -> Iterator[str]:
    for item in note.values.get("item") or ():
        is_secret = item.get("sensitive") or "item" in note.sensitive
        shown = "(sensitive)" if is_secret else _text(item, "value")
        yield printable(f"{_text(item, 'key')} {shown}")[:_NOTE_MAX]
    if cost := _number(note.values, "daily_cost"):
        yield f"costs {cost} a day"


def _instances(state: Mapping[str, Any]) -> Iterator[_Instance]:
    for resource in state.get("resources", []):
        if resource["mode"] != "managed":
            continue
        kind = next(
            (resource["type"].removeprefix(p) for p in _PREFIXES if resource["type"].startswith(p)),
            "",
        )
        module = f"{resource['module']}." if resource.get("module") else ""
        for instance in resource["instances"]:
            if "deposed" in instance:
                continue
            key = instance.get("index_key")
            index = "" if key is None else f"[{json.dumps(key)}]"
            yield _Instance(
                kind=kind,
                address=f"{module}{resource['type']}.{resource['name']}{index}",
                label=resource["name"] if key is None else f"{resource['name']}-{key}",
                values=instance.get("attributes") or {},
                sensitive=frozenset(
                    str(path[0].get("value")) for path in instance.get("sensitive_attributes") or ()
                ),
            )


def _name_of(label: str) -> str:
    """A resource's label as the name of an agent, which host names have to hold."""
    name = re.sub(r"[^a-z0-9]+", "-", label.lower()).strip("-")
    return name[:_NAME_MAX].rstrip("-") or "agent"


def _spec(agent: _Instance, own: list[_Instance], build_id: str) -> AgentSpec:
    values = agent.values
    spec = AgentSpec(
        build_id=build_id,
        os=_text(values, "os"),
        arch=_text(values, "arch"),
        directory=_text(values, "dir"),
        env=_merged(values.get("env") or {}, [i for i in own if i.kind == "env"]),
        motd_file=_text(values, "motd_file"),
        troubleshooting_url=_text(values, "troubleshooting_url"),
        connection_timeout_s=_number(values, "connection_timeout", 120),
        order=_number(values, "order"),
        display_apps=_display_apps(values),
        scripts=(*_own_scripts(values), *(_script(i) for i in own if i.kind == "script")),
        metadata=tuple(map(_metadata_item, values.get("metadata") or ())),
        apps=tuple(_app(i) for i in own if i.kind == "app"),
        thresholds=tuple(_thresholds(values)),
    )
    size = len(json.dumps(to_plain(spec), ensure_ascii=False).encode("utf-8", "replace"))
    if size > _SPEC_MAX_BYTES:
        raise InputError(
            "agent_spec_too_large",
            f"{agent.address}: its scripts, variables and apps take {size} bytes, the limit is "
            f"{_SPEC_MAX_BYTES}",
            hint="fetch large data in a script",
        )
    return spec


def _own_scripts(values: Mapping[str, Any]) -> Iterator[Script]:
    # Before 2.0 it was said the other way round.
    blocking = (
        values.get("startup_script_behavior") == "blocking"
        or values.get("login_before_ready") is False
    )
    if values.get("startup_script"):
        yield Script(
            id=STARTUP_SCRIPT,
            name="Startup script",
            script=values["startup_script"],
            run_on_start=True,
            blocks_login=blocking,
        )
    if values.get("shutdown_script"):
        yield Script(
            id=SHUTDOWN_SCRIPT,
            name="Shutdown script",
            script=values["shutdown_script"],
            run_on_stop=True,
        )


def _script(instance: _Instance) -> Script:
    values = instance.values
    return Script(
        id=_text(values, "id"),
        name=_text(values, "display_name"),
        script=_text(values, "script"),
        icon=_text(values, "icon"),
        run_on_start=bool(values.get("run_on_start")),
        run_on_stop=bool(values.get("run_on_stop")),
        cron=_text(values, "cron"),
        blocks_login=bool(values.get("start_blocks_login")),
        timeout_s=_number(values, "timeout"),
        log_path=_text(values, "log_path"),
        after=tuple(filter(None, values.get("after") or ())),
    )


def _metadata_item(values: Mapping[str, Any]) -> MetadataItem:
    interval = _number(values, "interval")
    return MetadataItem(
        key=_text(values, "key"),
        display_name=_text(values, "display_name") or _text(values, "key"),
        script=_text(values, "script"),
        interval_s=interval,
        timeout_s=_number(values, "timeout") or interval,
        order=_number(values, "order"),
    )


def _app(instance: _Instance) -> App:
    values = instance.values
    slug = _text(values, "slug") or _name_of(instance.label)
    subdomain = values.get("subdomain")
    if values.get("relative_path") is not None:  # before 2.0, and the opposite
        subdomain = not values["relative_path"]
    checks = values.get("healthcheck") or ()
    return App(
        id=_text(values, "id"),
        slug=slug,
        display_name=_text(values, "display_name") or _text(values, "name") or slug,
        icon=_text(values, "icon"),
        url=_text(values, "url"),
        command=_text(values, "command"),
        external=bool(values.get("external")),
        subdomain=bool(subdomain),
        share=_text(values, "share") or "owner",
        open_in=_text(values, "open_in") or "slim-window",
        order=_number(values, "order"),
        group=_text(values, "group"),
        hidden=bool(values.get("hidden")),
        tooltip=_text(values, "tooltip"),
        healthcheck=next(map(_healthcheck, checks), None),
    )


def _healthcheck(values: Mapping[str, Any]) -> HealthCheck:
    return HealthCheck(
        url=_text(values, "url"),
        interval_s=_number(values, "interval"),
        threshold=_number(values, "threshold"),
    )


def _display_apps(values: Mapping[str, Any]) -> tuple[str, ...]:
    said = next(iter(values.get("display_apps") or ()), None)
    if said is None:
        return _DISPLAY_APPS
    return tuple(name for name, shown in said.items() if shown)


def _thresholds(values: Mapping[str, Any]) -> Iterator[Threshold]:
    for said in values.get("resources_monitoring") or ():
        for watched in (*(said.get("memory") or ()), *(said.get("volume") or ())):
            if watched.get("enabled"):
                percent = _number(watched, "threshold")
                yield Threshold(path=_text(watched, "path"), percent=percent)


def _merged(own: Mapping[str, str], variables: Iterable[_Instance]) -> dict[str, str]:
    """Variables of one name in the order of their addresses; what the agent says itself counts."""
    found: dict[str, str] = {}
    first: dict[str, str] = {}
    for instance in variables:
        name, value = _text(instance.values, "name"), _text(instance.values, "value")
        strategy = _text(instance.values, "merge_strategy")
        if strategy == "error" and name in found:
            raise InputError(
                "variable_defined_twice",
                f"{instance.address}: {first[name]} sets {name} too",
                hint="give one another name, or another merge_strategy",
            )
        first.setdefault(name, instance.address)
        parts = [found[name]] if found.get(name) else []
        if strategy == "append":
            value = ":".join([*parts, value])
        elif strategy == "prepend":
            value = ":".join([value, *parts])
        found[name] = value
    # One that is null is one that is not said.
    return {**found, **{name: value for name, value in own.items() if value is not None}}


def _text(values: Mapping[str, Any], name: str) -> str:
    value = values.get(name)
    return value if isinstance(value, str) else ""


def _number(values: Mapping[str, Any], name: str, default: int = 0) -> int:
    value = values.get(name)
    return default if value is None else int(value)
