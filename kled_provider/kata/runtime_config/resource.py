"""Resource `kata_runtime_config`."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

import trio

from kled_provider.kata.host.facts import mem_agent_problem
from kled_provider.kata.host.shims import find_shim, shim_version
from kled_provider.kata.machine import KataMachine
from kled_provider.kata.owner.file import OwnerFile
from kled_provider.kata.runtime_config.composing import (
    ComposedConfig,
    compose,
    diagnose,
    template_tables,
)
from kled_provider.kata.runtime_config.keeping import find_config, keep_config, remove_config
from kled_provider.kata.runtime_config.merged import M
from kled_provider.kata.runtime_config.places import NAME, file_path
from kled_provider.kata.runtime_config.problem import Problem
from kled_provider.kata.runtime_config.reading import (
    DROP_INS,
    ConfigFileError,
    missing_files,
    read_configuration,
)
from kled_provider.kata.runtime_config.schema import DROP_IN, KATA_RUNTIME_CONFIG
from kled_provider.plugin.diagnostics import Diagnostic, DiagnosticError, raise_errors
from kled_provider.plugin.resource import Context, Resource
from kled_provider.plugin.values import UNKNOWN, Values, conform_object, is_known

# The attributes that a template sets, which the record of the file keeps.
_SAID = ("name", "base", "form", "extra_toml", "hypervisor", "agent", "runtime")


class RuntimeConfigResource(Resource):
    """A file that Kata is given as the configuration of a VM, or a drop-in beside one."""

    type_name = "kata_runtime_config"
    schema = KATA_RUNTIME_CONFIG
    identity = ("name",)

    def __init__(self, machine: KataMachine) -> None:
        self._machine = machine

    def validate(self, config: Values) -> list[Diagnostic]:
        """Check each value; what goes together is known with the base, at plan."""
        found = super().validate(config)
        if config["hypervisor"] is None:
            detail = "Say at least which hypervisor runs: hypervisor { kind = ... }."
            found.append(Diagnostic(summary="The block hypervisor is missing", detail=detail))
        return found

    async def check_plan(
        self,
        context: Context,
        prior: Values | None,
        planned: Values,
    ) -> Iterable[Diagnostic]:
        """Say whether Kata would take the merged result."""
        if not all(is_known(planned[name]) for name in _SAID):
            return ()
        owner = self._machine.owner()
        composed = await self._compose(owner, planned, await context.workspace_id())
        return [*composed.diagnostics, *await _mem_agent(owner, planned, composed)]

    async def create(self, context: Context, planned: Values) -> Values:
        """Write the file; one of that name that is there already is replaced."""
        return await self._write(context, planned)

    async def read(self, context: Context, state: Values) -> Values | None:
        """Gone when the file is; not intact when it says something else than it should."""
        owner, workspace = self._machine.owner(), await context.workspace_id()
        found = find_config(_place(owner, workspace, state))
        if found is None:
            return None
        if context.generation and found.record.get("generation") != context.generation:
            return None  # a later create has made it its own
        try:
            expected = (await self._compose(owner, state, workspace)).text
        except (DiagnosticError, ConfigFileError):
            return {**state, "intact": False}  # the base is gone: the next plan says so
        return {**state, "intact": found.is_plain and found.text == expected}

    async def update(self, context: Context, prior: Values, planned: Values) -> Values:
        """Write the file anew."""
        owner, workspace = self._machine.owner(), await context.workspace_id()
        before, after = (_place(owner, workspace, values) for values in (prior, planned))
        state = await self._write(context, planned)
        if before != after:  # the base of a drop-in has changed
            remove_config(before, with_directory=False)
        return state

    async def delete(self, context: Context, state: Values) -> None:
        """Remove the file, unless a later create has made it its own."""
        place = _place(self._machine.owner(), await context.workspace_id(), state)
        found = find_config(place)
        if found is None or context.generation not in (None, found.record.get("generation")):
            return
        remove_config(place, with_directory=state["form"] != DROP_IN)

    async def import_state(self, context: Context, identity: str) -> Values:
        """Find a configuration of this workspace by its name."""
        owner, workspace = self._machine.owner(), await context.workspace_id()
        asked = [{"name": identity, "form": "file", "base": None}]
        asked += [
            {"name": identity, "form": DROP_IN, "base": base} for base in owner.configurations
        ]
        for wanted in asked:
            place = _place(owner, workspace, wanted)
            found = find_config(place)
            if found is not None and found.record.get("name") == identity:
                said = {name: found.record.get(name) for name in _SAID}
                state = conform_object({**said, "intact": True}, self.schema)
                # The import owns it from now on.
                record = {**found.record, "generation": context.generation}
                keep_config(place, record, found.text)
                composed = await self._compose(owner, state, workspace)
                return {**state, **_result(owner, workspace, state, composed)}
        raise DiagnosticError.of(
            "There is no such configuration",
            f"This workspace has no kata_runtime_config of the name {identity[:80]!r} here.",
        )

    async def _write(self, context: Context, planned: Values) -> Values:
        owner, workspace = self._machine.owner(), await context.workspace_id()
        composed = await self._compose(owner, planned, workspace)
        raise_errors(composed.diagnostics)
        record = {name: _without_nulls(planned[name]) for name in _SAID}
        place = _place(owner, workspace, planned)
        try:
            keep_config(place, {"generation": context.generation, **record}, composed.text)
        except OSError as error:
            raise DiagnosticError.of(
                "The configuration cannot be written",
                f"{place}: {error.strerror}. The owner of this machine has to see to it.",
                path=("form",) if planned["form"] == DROP_IN else ("name",),
            ) from error
        return {**planned, **_result(owner, workspace, planned, composed)}

    async def _compose(self, owner: OwnerFile, values: Values, workspace: str) -> ComposedConfig:
        """Read the base and merge; a base that cannot be read is a diagnostic at `base`."""
        base = owner.configurations.get(values["base"])
        try:
            read = partial(read_configuration, without=_drop_in_name(workspace, values["name"]))
            config = await trio.to_thread.run_sync(read, base.path) if base else {}
        except ConfigFileError as error:
            raise DiagnosticError.of(
                "The base cannot be used",
                f"{error.message}." + (f" {error.hint}" if error.hint else ""),
                path=("base",),
            ) from error
        return _with_missing_files(compose(values, owner, config), values)


def _with_missing_files(composed: ComposedConfig, values: Values) -> ComposedConfig:
    """Add which files that it names are not there."""
    given = template_tables(values)
    missing = [diagnose(problem, values, given) for problem in missing_files(composed.merged)]
    return replace(composed, diagnostics=(*composed.diagnostics, *missing))


def _result(
    owner: OwnerFile, workspace: str, values: Values, composed: ComposedConfig
) -> dict[str, Any]:
    is_drop_in = values["form"] == DROP_IN
    own = file_path(owner, workspace, values["name"])
    path = owner.configurations[values["base"]].path if is_drop_in else own
    return {"path": path, "sha256": composed.sha256, "rendered": composed.rendered}


def _place(owner: OwnerFile, workspace: str, values: Values) -> Path:
    """Where the file stands. Raises DiagnosticError for what is no name: a state says anything."""
    if not re.fullmatch(NAME, values["name"] or ""):
        raise DiagnosticError.of(
            "There is no such configuration", f"{values['name']!r} is no name."
        )
    base = owner.configurations.get(values["base"])
    if values["form"] == DROP_IN and base is not None:
        name = _drop_in_name(workspace, values["name"])
        return Path(base.path).parent / DROP_INS / name
    return Path(file_path(owner, workspace, values["name"]))


def _drop_in_name(workspace: str, name: str) -> str:
    """50 to 89 are for others than Kata's own installation."""
    return f"60-kled-{quote(workspace, safe='')}-{name}.toml"


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            k: _without_nulls(v) for k, v in value.items() if v is not None and v is not UNKNOWN
        }
    return [_without_nulls(item) for item in value] if isinstance(value, list) else value


async def _mem_agent(
    owner: OwnerFile, values: Values, composed: ComposedConfig
) -> list[Diagnostic]:
    """Say whether the Kata that is installed runs the mem-agent, if that is turned on."""
    merged = composed.merged
    if not merged.is_on((M, "enable")):
        return []
    runtimes = {h.runtime for h in owner.handlers.values() if h.hypervisor == merged.hypervisor}
    shims = {find_shim(runtime) for runtime in runtimes} - {""}
    why = {mem_agent_problem(await shim_version(shim)) for shim in sorted(shims)} - {None}
    given = template_tables(values)
    return [
        diagnose(Problem(table=M, key="enable", sentence=str(text)), values, given) for text in why
    ]
