"""Evaluates parameters before a build: for a new workspace, and for an existing one."""

from __future__ import annotations

from collections.abc import Mapping

from kled_coord.builds.choosing import AskedParameters
from kled_coord.policy.actions import Action
from kled_coord.policy.decide import Caller
from kled_coord.store.records import Workspace
from kled_coord.store.template_records import TemplateVersion
from kled_coord.templates.questions import Evaluation, FormAnswers, Questions
from kled_coord.workspaces.parameters import NONE, Parameters
from kled_coord.workspaces.service import Workspaces
from kled_wire.names import parse_workspace_ref


async def evaluate_new(
    questions: Questions,
    workspaces: Workspaces,
    caller: Caller,
    version: TemplateVersion,
    *,
    given: Mapping[str, str],
    name: str = "",
    preset: str | None = None,
    copy_from: str | None = None,
) -> tuple[Evaluation, Parameters]:
    """Evaluate for a new workspace; returns as well what is taken from the workspace `copy_from`.

    Of that one what everybody may see who may see it, and the template still has: nothing that is
    sensitive, and nothing that was for one build. Raises as Questions and Workspaces.resolve.
    """
    kept = NONE
    if copy_from is not None:
        source = await workspaces.resolve(
            caller, parse_workspace_ref(copy_from), Action.WORKSPACE_READ
        )
        kept = _copied(source, version)
    answers = FormAnswers(given=given, kept=kept, previous={}, workspace_name=name, preset=preset)
    return await questions.evaluate(caller, version, answers), kept


def _copied(source: Workspace, version: TemplateVersion) -> Parameters:
    plain = {name: value for name, value in source.parameters.items() if value is not None}
    secret = {variable.name for variable in version.variables if variable.secret}
    left_out = secret | set(version.fixed)
    return Parameters(
        plain={name: value for name, value in plain.items() if name not in left_out}, secret={}
    )


async def evaluate_again(
    questions: Questions,
    caller: Caller,
    workspace: Workspace,
    version: TemplateVersion,
    kept: Parameters,
    *,
    given: Mapping[str, str],
    preset: str | None = None,
) -> tuple[Evaluation, AskedParameters | None]:
    """Evaluate for the next start of a workspace that has `kept`. Raises as Questions."""
    answers = FormAnswers(
        given=given,
        kept=kept,
        previous={} if workspace.outputs is None else workspace.parameters,
        workspace_name=workspace.name,
        preset=preset,
    )
    evaluation = await questions.evaluate(caller, version, answers)
    if evaluation.parameters is None:
        return evaluation, None
    return evaluation, AskedParameters(kept=workspace.parameters, parameters=evaluation.parameters)
