"""Routes: templates and their versions."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Final, Literal

from fastapi import APIRouter, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import Field, ValidationError

from kled_coord.api.bodies import (
    ChangeTemplateBody,
    ChangeVersionBody,
    CheckTemplateBody,
    EvaluateTemplateBody,
    PushTemplateBody,
)
from kled_coord.api.guard import CallerDep, NamePath, ServicesDep, VersionDep
from kled_coord.api.leaving import run_while_connected
from kled_coord.api.template_answers import (
    CheckAnswer,
    EvaluationAnswer,
    PushedAnswer,
    TemplateAnswer,
    VersionAnswer,
    VersionDetailsAnswer,
)
from kled_coord.templates.choosing import evaluate_new
from kled_coord.templates.deadlines import Deadlines
from kled_coord.templates.edits import TemplateEdit
from kled_coord.templates.fixing import ValuesFile
from kled_coord.templates.pushing import PushValues

router = APIRouter(prefix="/api/v1/templates", tags=["templates"])
CheckQuery = Annotated[int, Field(ge=1, le=3600)] | Literal["default"]
QuietQuery = Annotated[int, Field(ge=0, le=2**31 - 1)] | Literal["default"]
# Describes a version, as a commit message does.
MessageQuery = Annotated[str, Query(max_length=2000)]
_JSON: Final = "application/json"
_ANSWERED: Final[dict[str, dict[str, str]]] = {"application/x-tar": {}}


@router.get("")
async def list_templates(services: ServicesDep, caller: CallerDep) -> list[TemplateAnswer]:
    """All templates."""
    return [TemplateAnswer.of(template) for template in await services.templates.list_all(caller)]


@router.get("/{name}")
async def get_template(name: NamePath, services: ServicesDep, caller: CallerDep) -> TemplateAnswer:
    """A template with its versions."""
    template, versions = await services.templates.get(caller, name)
    return TemplateAnswer.of(template, versions)


@router.patch("/{name}")
async def change_template(
    name: NamePath, body: ChangeTemplateBody, services: ServicesDep, caller: CallerDep
) -> TemplateAnswer:
    """Change a template, or make another version the active one."""
    edit = TemplateEdit(
        display_name=body.display_name,
        description=body.description,
        icon=body.icon,
        active_version=body.active_version,
        deadlines=Deadlines(
            check_deadline_s=body.check_deadline_s, build_quiet_s=body.build_quiet_s
        ),
        stop_after_s=body.stop_after_s,
        usable_by=body.usable_by,
    )
    return TemplateAnswer.of(await services.templates.edit(caller, name, edit))


@router.delete("/{name}", status_code=204)
async def delete_template(name: NamePath, services: ServicesDep, caller: CallerDep) -> None:
    """Delete a template that no workspace uses."""
    await services.templates.delete(caller, name)


@router.post("/{name}/versions", status_code=201)
async def push_version(
    name: NamePath,
    request: Request,
    services: ServicesDep,
    caller: CallerDep,
    message: MessageQuery = "",
    check_deadline_s: CheckQuery | None = None,
    build_quiet_s: QuietQuery | None = None,
    activate: bool = True,
) -> PushedAnswer:
    """Upload a tar (plain or gzip) as a new version; or JSON, with values for it."""
    upload, values, version_name = await request.body(), PushValues(), None
    deadlines = Deadlines(check_deadline_s=check_deadline_s, build_quiet_s=build_quiet_s)
    if _is_json(request):
        body = _push_body(upload)
        upload, values, message, activate = body.archive, _values(body), body.message, body.activate
        version_name = body.name
        deadlines = Deadlines(
            check_deadline_s=body.check_deadline_s, build_quiet_s=body.build_quiet_s
        )
    push = partial(
        services.pushing.push,
        caller,
        name,
        message=message,
        upload=upload,
        version_name=version_name,
        deadlines=deadlines,
        activate=activate,
        values=values,
    )
    pushed = await run_while_connected(request, push)
    return PushedAnswer.of_push(pushed.version, pushed.checked)


@router.post("/{name}/check")
async def check_version(
    name: NamePath,
    request: Request,
    body: CheckTemplateBody,
    services: ServicesDep,
    caller: CallerDep,
) -> CheckAnswer:
    """Check an upload as a push does, and keep nothing."""
    check = partial(
        services.pushing.validate, caller, name, upload=body.archive, values=_values(body)
    )
    return CheckAnswer.of(await run_while_connected(request, check))


@router.get("/{name}/versions/{version}")
async def get_version(
    name: NamePath, version: VersionDep, services: ServicesDep, caller: CallerDep
) -> VersionDetailsAnswer:
    """A version with its README."""
    details = await services.templates.details(caller, name, version)
    return VersionDetailsAnswer.of_details(details)


@router.patch("/{name}/versions/{version}")
async def change_version(
    name: NamePath,
    version: VersionDep,
    body: ChangeVersionBody,
    services: ServicesDep,
    caller: CallerDep,
) -> VersionAnswer:
    """Archive a version, or bring it back."""
    changed = await services.templates.archive(caller, name, version, archived=body.archived)
    return VersionAnswer.of(changed)


@router.get("/{name}/versions/{version}/archive", responses={200: {"content": _ANSWERED}})
async def pull_version(
    name: NamePath, version: VersionDep, services: ServicesDep, caller: CallerDep
) -> Response:
    """The files of a version, as a tar."""
    tar = await services.templates.pull(caller, name, version)
    return Response(tar, media_type="application/x-tar")


@router.post("/{name}/parameters/evaluate")
async def evaluate_parameters(
    name: NamePath,
    request: Request,
    body: EvaluateTemplateBody,
    services: ServicesDep,
    caller: CallerDep,
) -> EvaluationAnswer:
    """The parameters of a new workspace with some answers, and what is wrong with these."""
    version = await services.templates.version(caller, name, body.version)
    evaluate = partial(
        evaluate_new,
        services.questions,
        services.workspaces,
        caller,
        version,
        given=body.parameters,
        preset=body.preset,
        copy_from=body.copy_from,
    )
    evaluation, _ = await run_while_connected(request, evaluate)
    return EvaluationAnswer.of(version, evaluation)


def _is_json(request: Request) -> bool:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower() == _JSON


def _push_body(content: bytes) -> PushTemplateBody:
    try:
        return PushTemplateBody.model_validate_json(content)
    except ValidationError as error:
        found = [{**each, "loc": ("body", *each["loc"])} for each in error.errors()]
        raise RequestValidationError(found) from error


def _values(body: CheckTemplateBody) -> PushValues:
    files = [ValuesFile(name=each.name, content=each.content) for each in body.variable_files]
    return PushValues(variables=body.variables, files=files, parameters=body.parameters)
