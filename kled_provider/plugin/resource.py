"""The interface of a resource and a data source; service.py implements the protocol."""

from __future__ import annotations

import abc
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from kled_provider.host import Host
from kled_provider.plugin.diagnostics import Diagnostic, DiagnosticError
from kled_provider.plugin.planning import ResourcePlan, plan_change
from kled_provider.plugin.schema import Schema
from kled_provider.plugin.validation import validate_config
from kled_provider.plugin.values import Values


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What an operation may use.

    `keep(state)` says what exists by now: where the operation is stopped or fails afterwards,
    Terraform saves that state (as tainted, if it was a create) and nothing is lost.
    `generation` is a new one for a create, which has to keep it with what it makes or adopts, else
    that of the create the state is from; None where a delete is not told (private.py). `replaced`
    is the generation of what a create takes the place of, and does not adopt; "" where none is
    known. `private` is kept beside the state for the next operation and shown to nobody. `config`
    is the configuration as written, with its write-only attributes; None where there is none.
    """

    host: Host
    keep: Callable[[Values], None]
    generation: str | None = ""
    replaced: str = ""
    private: dict[str, str] = field(default_factory=dict)
    config: Values | None = None

    async def workspace_id(self) -> str:
        """Return the id of the workspace that the run builds. Raises as a Host does."""
        return str((await self.host.workspace())["id"])


class Resource(abc.ABC):
    """A thing Terraform creates, changes and destroys.

    Every operation may raise DiagnosticError, a Host's error or OSError; all become diagnostics.
    Terraform never says under which address a resource stands, so its identity has to come from
    its own attributes, and `create` adopts what a killed run left behind under that identity.
    """

    type_name: str
    schema: Schema
    # The attributes by which an object is known; no two configurations may have the same values.
    # Empty where it is nothing outside of the state.
    identity: tuple[str, ...] = ()

    def validate(self, config: Values) -> list[Diagnostic]:
        """Say what is wrong with the configuration; values may be unknown."""
        return validate_config(self.schema, config)

    async def check_plan(
        self,
        context: Context,
        prior: Values | None,
        planned: Values,
    ) -> Iterable[Diagnostic]:
        """Say what is wrong with a planned create or change, or warn of it. Changes nothing."""
        return ()

    def upgrade(self, version: int, saved: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return a state that an older schema has written, in the terms of today's.

        What today's lacks is dropped, what the state lacks is null: say only what has moved.
        """
        return saved

    def plan(self, prior: Values | None, config: Values) -> ResourcePlan:
        """Say what the object will look like. By the schema, unless overridden."""
        return plan_change(self.schema, prior, config)

    @abc.abstractmethod
    async def create(self, context: Context, planned: Values) -> Values:
        """Make or adopt the object; returns its whole state."""

    @abc.abstractmethod
    async def read(self, context: Context, state: Values) -> Values | None:
        """Return the object as it is now; None when it is gone."""

    @abc.abstractmethod
    async def update(self, context: Context, prior: Values, planned: Values) -> Values:
        """Change the object in place; returns its whole state."""

    @abc.abstractmethod
    async def delete(self, context: Context, state: Values) -> None:
        """Remove the object; one that is gone, or of another generation, is no error."""

    async def import_state(self, context: Context, identity: str) -> Values:
        """Return the state of an existing object for `terraform import`."""
        raise DiagnosticError.of(
            f"{self.type_name} cannot be imported",
            f"There is no way to import {identity!r}: remove the import and let Terraform adopt "
            "the object, which every create does.",
        )


class DataSource(abc.ABC):
    """A thing Terraform only reads."""

    type_name: str
    schema: Schema

    def validate(self, config: Values) -> list[Diagnostic]:
        """Say what is wrong with the configuration; values may be unknown."""
        return validate_config(self.schema, config)

    @abc.abstractmethod
    async def read(self, context: Context, config: Values) -> Values:
        """Return the whole object."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Provider:
    """A provider: its name, what it offers and what its configuration block takes."""

    name: str
    resources: tuple[Resource, ...] = ()
    data_sources: tuple[DataSource, ...] = ()
    schema: Schema = field(default_factory=Schema)

    def resource(self, type_name: str) -> Resource:
        """Find a resource by type. Raises DiagnosticError."""
        for resource in self.resources:
            if resource.type_name == type_name:
                return resource
        raise self._no_such("resource", type_name)

    def data_source(self, type_name: str) -> DataSource:
        """Find a data source by type. Raises DiagnosticError."""
        for source in self.data_sources:
            if source.type_name == type_name:
                return source
        raise self._no_such("data source", type_name)

    def _no_such(self, kind: str, type_name: str) -> DiagnosticError:
        return DiagnosticError.of(f"The {self.name} provider has no {kind} {type_name!r}")
