"""The interface of the program that runs builds and checks templates, which is Terraform."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from kled_coord.builds.host import BuildHost, PreviewHost
from kled_coord.builds.job import Job, Reporter
from kled_coord.store.template_records import TemplateParameter, TemplatePreset
from kled_coord.terraform.output.changes import PlannedChanges
from kled_coord.terraform.process.varfile import Value


@dataclass(frozen=True, slots=True, kw_only=True)
class Inquiry:
    """A template, whose workspace it would be, and the answers so far.

    `names` are those of all its variables, `variables` the values that are known. `workspace` is
    what `Host.workspace` gives. `is_planned`, in a check: variables that need a value have one.
    """

    template: bytes = field(repr=False)
    names: Collection[str] = ()
    variables: Mapping[str, Value]
    workspace: Mapping[str, Any]
    is_planned: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class TemplateForm:
    """The parameters and presets that a template has with these answers."""

    parameters: tuple[TemplateParameter, ...] = ()
    presets: tuple[TemplatePreset, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedTemplate:
    """The result of a check.

    `changes` of a first start are None where it was not planned, `answer` where it is not known.
    """

    answer: TemplateForm | None = None
    changes: tuple[tuple[str, str], ...] | None = None  # an address, and what happens to it
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanInquiry:
    """A workspace's template and state, to plan from: with `destroy` the end of everything, with
    `refresh_only` the resources that differ from the state.
    """

    template: bytes = field(repr=False)
    state: bytes | None = field(repr=False)
    variables: Mapping[str, Value]
    destroy: bool
    refresh_only: bool


# Raises KledError with Terraform's words. Changes nothing.
BuildPlanner = Callable[[PlanInquiry, PreviewHost], Awaitable[PlannedChanges]]
# Both raise InputError("template_invalid") with file, line and Terraform's words, and KledError.
TemplateChecker = Callable[[Inquiry], Awaitable[CheckedTemplate]]
ParameterAsker = Callable[[Inquiry], Awaitable[TemplateForm]]
# Returns when the build succeeded and raises KledError when it failed. Cancelled, it stops cleanly
# (shielded, bounded) before it lets the cancellation through.
BuildRunner = Callable[[Job, BuildHost, Reporter], Awaitable[None]]
