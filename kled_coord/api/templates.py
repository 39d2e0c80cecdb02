"""Routes: templates and their versions."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request
from pydantic import Field

from kled_coord.api.answers import TemplateAnswer, VersionAnswer
from kled_coord.api.bodies import ChangeTemplateBody
from kled_coord.api.guard import CallerDep, NamePath, ServicesDep
from kled_coord.api.leaving import run_while_connected
from kled_coord.templates.deadlines import Deadlines

router = APIRouter(prefix="/api/v1/templates", tags=["templates"])
CheckQuery = Annotated[int, Field(ge=1, le=3600)] | Literal["default"]
QuietQuery = Annotated[int, Field(ge=0, le=2**31 - 1)] | Literal["default"]
# What a version is about, as one writes it for a commit.
MessageQuery = Annotated[str, Query(max_length=2000)]


@router.get("")
async def list_templates(services: ServicesDep, caller: CallerDep) -> list[TemplateAnswer]:
    """All templates."""
    return [TemplateAnswer.of(template) for template in await services.templates.list_all(caller)]


@router.get("/{name}")
async def get_template(name: NamePath, services: ServicesDep, caller: CallerDep) -> TemplateAnswer:
    """A template with its versions."""
    template, versions = await services.templates.get(caller, name)
    return TemplateAnswer.of(template, versions)


@router.post("/{name}/versions", status_code=201)
async def push_version(
    name: NamePath,
    request: Request,
    services: ServicesDep,
    caller: CallerDep,
    message: MessageQuery = "",
    check_deadline_s: CheckQuery | None = None,
    build_quiet_s: QuietQuery | None = None,
) -> VersionAnswer:
    """Upload a tar (plain or gzip) as the template's new active version."""
    deadlines = Deadlines(check_deadline_s=check_deadline_s, build_quiet_s=build_quiet_s)
    upload = await request.body()
    push = partial(
        services.templates.push, caller, name, message=message, upload=upload, deadlines=deadlines
    )
    version = await run_while_connected(request, push)
    return VersionAnswer.of(version)


@router.patch("/{name}")
async def change_template(
    name: NamePath, body: ChangeTemplateBody, services: ServicesDep, caller: CallerDep
) -> TemplateAnswer:
    """Change a template's deadlines."""
    deadlines = Deadlines(check_deadline_s=body.check_deadline_s, build_quiet_s=body.build_quiet_s)
    return TemplateAnswer.of(await services.templates.set_deadlines(caller, name, deadlines))


@router.delete("/{name}", status_code=204)
async def delete_template(name: NamePath, services: ServicesDep, caller: CallerDep) -> None:
    """Delete a template that no workspace uses."""
    await services.templates.delete(caller, name)
