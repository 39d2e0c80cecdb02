"""Reads the agents of a workspace, with all that belongs to them, from a state. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from kled_coord.builds.states.instances import Instance, instances_of, number_of, text_of
from kled_coord.terraform.source.agents import name_of_label, refuse_shared_names
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

# A control message must hold the spec (kled_wire/limits.py) beside its other fields.
_SPEC_MAX_BYTES: Final = 768 * 1024
# Ways in that are shown where the template says nothing of them.
_DISPLAY_APPS: Final = ("vscode", "web_terminal", "ssh_helper", "port_forwarding_helper")


@dataclass(frozen=True, slots=True, kw_only=True)
class AppliedAgent:
    """An agent as a build has applied it. `address` is where the template has it."""

    name: str
    address: str
    spec: AgentSpec


def applied_agents(state: Mapping[str, Any], build_id: str) -> dict[AgentId, AppliedAgent]:
    """The agents of a state by id, each with all that belongs to it.

    Raises InputError: "agent_name_taken", "agent_spec_too_large", "variable_defined_twice".
    """
    instances = sorted(instances_of(state), key=lambda instance: instance.address)
    found: dict[AgentId, AppliedAgent] = {}
    for instance in instances:
        agent_id = instance.values.get("id")
        if instance.kind != "agent" or not isinstance(agent_id, str):
            continue
        own = [i for i in instances if i.values.get("agent_id") == agent_id]
        name = instance.values.get("name") or name_of_label(instance.label)
        spec = _spec(instance, name, own, build_id)
        found[AgentId(agent_id)] = AppliedAgent(name=name, address=instance.address, spec=spec)
    refuse_shared_names((agent.name, agent.address) for agent in found.values())
    return found


def _spec(agent: Instance, name: str, own: list[Instance], build_id: str) -> AgentSpec:
    values = agent.values
    spec = AgentSpec(
        build_id=build_id,
        name=name,
        os=text_of(values, "os"),
        arch=text_of(values, "arch"),
        directory=text_of(values, "dir"),
        env=_merged(values.get("env") or {}, [i for i in own if i.kind == "env"]),
        motd_file=text_of(values, "motd_file"),
        troubleshooting_url=text_of(values, "troubleshooting_url"),
        connection_timeout_s=number_of(values, "connection_timeout", 120),
        order=number_of(values, "order"),
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


def _script(instance: Instance) -> Script:
    values = instance.values
    return Script(
        id=text_of(values, "id"),
        name=text_of(values, "display_name"),
        script=text_of(values, "script"),
        icon=text_of(values, "icon"),
        run_on_start=bool(values.get("run_on_start")),
        run_on_stop=bool(values.get("run_on_stop")),
        cron=text_of(values, "cron"),
        blocks_login=bool(values.get("start_blocks_login")),
        timeout_s=number_of(values, "timeout"),
        log_path=text_of(values, "log_path"),
        after=tuple(filter(None, values.get("after") or ())),
    )


def _metadata_item(values: Mapping[str, Any]) -> MetadataItem:
    interval = number_of(values, "interval")
    return MetadataItem(
        key=text_of(values, "key"),
        display_name=text_of(values, "display_name") or text_of(values, "key"),
        script=text_of(values, "script"),
        interval_s=interval,
        timeout_s=number_of(values, "timeout") or interval,
        order=number_of(values, "order"),
    )


def _app(instance: Instance) -> App:
    values = instance.values
    slug = text_of(values, "slug") or name_of_label(instance.label)
    subdomain = values.get("subdomain")
    if values.get("relative_path") is not None:  # before 2.0, and the opposite
        subdomain = not values["relative_path"]
    checks = values.get("healthcheck") or ()
    return App(
        id=text_of(values, "id"),
        slug=slug,
        display_name=text_of(values, "display_name") or text_of(values, "name") or slug,
        icon=text_of(values, "icon"),
        url=text_of(values, "url"),
        command=text_of(values, "command"),
        external=bool(values.get("external")),
        subdomain=bool(subdomain),
        share=text_of(values, "share") or "owner",
        open_in=text_of(values, "open_in") or "slim-window",
        order=number_of(values, "order"),
        group=text_of(values, "group"),
        hidden=bool(values.get("hidden")),
        tooltip=text_of(values, "tooltip"),
        healthcheck=next(map(_healthcheck, checks), None),
    )


def _healthcheck(values: Mapping[str, Any]) -> HealthCheck:
    return HealthCheck(
        url=text_of(values, "url"),
        interval_s=number_of(values, "interval"),
        threshold=number_of(values, "threshold"),
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
                percent = number_of(watched, "threshold")
                yield Threshold(path=text_of(watched, "path"), percent=percent)


def _merged(own: Mapping[str, str], variables: Iterable[Instance]) -> dict[str, str]:
    """Variables of one name in the order of their addresses; what the agent says itself counts."""
    found: dict[str, str] = {}
    first: dict[str, str] = {}
    for instance in variables:
        name, value = text_of(instance.values, "name"), text_of(instance.values, "value")
        strategy = text_of(instance.values, "merge_strategy")
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
    # An attribute that is null was not set in the template.
    return {**found, **{name: value for name, value in own.items() if value is not None}}
