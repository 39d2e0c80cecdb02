"""Decides which values a build of a workspace has, and what is said where it has none. No I/O."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from kled_coord.policy.decide import workspace_not_found
from kled_coord.store.records import Workspace
from kled_coord.store.template_records import TemplateParameter, TemplateVersion
from kled_coord.workspaces.lifecycle import Transition
from kled_coord.workspaces.parameters import Parameters, decide_parameters
from kled_coord.workspaces.service import version_archived
from kled_wire.errors import ConflictError


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedParameters:
    """The parameters that Terraform said there are, when the workspace had those of `kept`."""

    kept: Mapping[str, str | None]
    parameters: Sequence[TemplateParameter]


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildChoice:
    """The version and parameters that a caller wants; `wanted` None keeps the version."""

    transition: Transition
    wanted: TemplateVersion | None
    parameters: Mapping[str, str]
    asked: AskedParameters | None


def choose_values(
    now_is: Workspace, applied: TemplateVersion, kept: Parameters, choice: BuildChoice
) -> Parameters:
    """The values of a build. Raises NotFoundError, ConflictError, InputError."""
    if now_is.status == "deleted":
        raise workspace_not_found(now_is.name)
    wanted, asked = choice.wanted, choice.asked
    if wanted is not None and wanted.archived_at is not None and wanted.id != applied.id:
        raise version_archived(wanted)
    if asked is not None and asked.kept != now_is.parameters:
        raise _changed_meanwhile(now_is)
    if choice.transition is not Transition.START and wanted is None and not choice.parameters:
        return kept
    return decide_parameters(
        wanted or applied,
        kept,
        choice.parameters,
        asked=None if asked is None else asked.parameters,
        applied=applied,
    )


def build_active(workspace: Workspace) -> ConflictError:
    """What is said where a build of the workspace goes on."""
    return ConflictError(
        "build_active",
        f"a build of {workspace.name} is still running",
        hint=f"wait for it, or kled cancel {workspace.name}",
    )


def _changed_meanwhile(workspace: Workspace) -> ConflictError:
    return ConflictError(
        "build_active",
        f"a build of {workspace.name} has just ended and changed its parameters",
        hint="try again",
    )
