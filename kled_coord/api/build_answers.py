"""The JSON answers about what builds do: their steps, and what a plan would change."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from kled_coord.api.answers import fields_of
from kled_coord.terraform.output.changes import ResourceChange


class StepAnswer(BaseModel):
    """A step of a build, in seconds since it was queued; `duration_s` null while it goes on."""

    kind: str
    name: str
    action: str
    started_s: float
    duration_s: float | None
    failed: bool


class RenamedAnswer(BaseModel):
    """A workspace's new name, and what its next build changes because of it."""

    id: str
    name: str
    changes: list[PlannedChangeAnswer]


class AttributeAnswer(BaseModel):
    """An attribute that changes. `hidden` says why its values are null: sensitive, or too long.

    `unknown`: `after` is known once it is done; `replaces`: the resource has to be made again.
    """

    name: str
    before: Any
    after: Any
    hidden: str | None
    unknown: bool
    replaces: bool


class PlannedChangeAnswer(BaseModel):
    """What happens to a resource: create, update, delete, replace or forget."""

    address: str
    action: str
    attributes: list[AttributeAnswer]

    @classmethod
    def of(cls, change: ResourceChange) -> PlannedChangeAnswer:
        """Make one from a plan."""
        attributes = [AttributeAnswer.model_validate(fields_of(a)) for a in change.attributes]
        return cls(address=change.address, action=change.action, attributes=attributes)
