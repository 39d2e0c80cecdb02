"""Routes: templates and their versions."""

from __future__ import annotations

from functools import partial
from typing import Annotated

from fastapi import APIRouter, Query, Request

from kled_coord.api.answers import TemplateAnswer, VersionAnswer
from kled_coord.api.guard import CallerDep, NamePath, ServicesDep
from kled_coord.api.leaving import run_while_connected

router = APIRouter(prefix="/api/v1/templates", tags=["templates"])
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
) -> VersionAnswer:
    """Upload a tar (plain or gzip) as the template's new active version."""
    upload = await request.body()
    push = partial(services.templates.push, caller, name, message=message, upload=upload)
    version = await run_while_connected(request, push)
    return VersionAnswer.of(version)


@router.delete("/{name}", status_code=204)
async def delete_template(name: NamePath, services: ServicesDep, caller: CallerDep) -> None:
    """Delete a template that no workspace uses."""
    await services.templates.delete(caller, name)
