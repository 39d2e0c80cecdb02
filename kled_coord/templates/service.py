"""The templates service: templates and versions after their push."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from kled_coord.identity.audit import Audit
from kled_coord.identity.grants import grant_of
from kled_coord.policy.actions import Action, ActionTarget
from kled_coord.policy.decide import Caller
from kled_coord.sources import Clock
from kled_coord.store.engine import Store
from kled_coord.store.standing import as_caller
from kled_coord.store.template_records import Template, TemplateVersion
from kled_coord.store.templates import (
    change_template,
    delete_template,
    list_templates,
    template_by_name,
    template_not_found,
)
from kled_coord.store.versions import (
    change_version,
    find_version,
    list_versions,
    previous_version,
    version_archive,
    version_readme,
)
from kled_coord.templates.edits import TemplateEdit
from kled_coord.workspaces.service import version_archived
from kled_wire.errors import ConflictError, NotFoundError
from kled_wire.names import PREVIOUS

# How many workspaces a refusal names.
_NAMED_MAX: Final = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionDetails:
    """A version with its README."""

    version: TemplateVersion
    readme: str


class Templates:
    """Keeps templates and their versions."""

    def __init__(self, *, store: Store, clock: Clock, audit: Audit) -> None:
        self._store = store
        self._clock = clock
        self._audit = audit

    async def list_all(self, caller: Caller) -> list[Template]:
        """All templates, by name."""
        await self._audit.require(caller, Action.TEMPLATE_READ, ActionTarget(kind="template"))
        return await self._store.read(list_templates)

    async def get(self, caller: Caller, name: str) -> tuple[Template, list[TemplateVersion]]:
        """A template and its versions, the newest first. Raises NotFoundError."""
        template = await self._find(caller, name, Action.TEMPLATE_READ)
        return template, await self._store.read(list_versions, template.id)

    async def version(self, caller: Caller, name: str, asked: int | str | None) -> TemplateVersion:
        """A version by number or name, None for the active one. Raises NotFoundError."""
        template = await self._find(caller, name, Action.TEMPLATE_READ)
        wanted = template.active_version if asked is None else asked
        version = await self._store.read(find_version, template.id, wanted)
        if version is None:
            raise NotFoundError(
                "version_not_found",
                f"the template {name} has no version {wanted}",
                hint=f"kled template versions {name}",
            )
        return version

    async def details(self, caller: Caller, name: str, asked: int | str | None) -> VersionDetails:
        """A version with its README; None is the active one. Raises NotFoundError."""
        version = await self.version(caller, name, asked)
        return VersionDetails(
            version=version, readme=await self._store.read(version_readme, version.id)
        )

    async def pull(self, caller: Caller, name: str, asked: int | str | None) -> bytes:
        """The tar of a version; None is the active one. Raises NotFoundError, ForbiddenError."""
        await self._find(caller, name, Action.TEMPLATE_WRITE)
        version = await self.version(caller, name, asked)
        return await self._store.read(version_archive, version.id)

    async def edit(self, caller: Caller, name: str, edit: TemplateEdit) -> Template:
        """Change a template. Raises NotFoundError, ForbiddenError, ConflictError."""
        resource = ActionTarget(kind="template", name=name)
        template = await self._find(caller, name, Action.TEMPLATE_WRITE)
        columns = edit.columns()
        if edit.active_version is not None:
            version = await self._promoted(caller, template, edit.active_version)
            columns["active_version_id"] = version.id
            told = {**columns, "active_version_id": version.number}
        else:
            told = columns
        changed: Template = await self._store.write(
            as_caller, grant_of(caller), caller.role, change_template, name, columns, self._clock()
        )
        detail = ", ".join(f"{column} {value}" for column, value in told.items())
        await self._audit.record(caller, Action.TEMPLATE_WRITE, resource, detail=detail)
        return changed

    async def _promoted(
        self, caller: Caller, template: Template, wanted: int | str
    ) -> TemplateVersion:
        if wanted == PREVIOUS:
            found = await self._store.read(previous_version, template)
            if found is None:
                raise NotFoundError(
                    "version_not_found",
                    f"no version of {template.name} before {template.active_version} is left",
                    hint=f"kled template versions {template.name}",
                )
            return found
        found = await self.version(caller, template.name, wanted)
        if found.archived_at is not None:
            raise version_archived(found)
        return found

    async def archive(
        self, caller: Caller, name: str, asked: int | str, *, archived: bool
    ) -> TemplateVersion:
        """Archive a version, of which nothing new is made then, or bring it back.

        Raises NotFoundError, ForbiddenError, ConflictError("version_active").
        """
        template = await self._find(caller, name, Action.TEMPLATE_WRITE)
        version = await self.version(caller, name, asked)
        if archived and template.active_version_id == version.id:
            raise ConflictError(
                "version_active",
                f"version {version.number} of {name} is the active one",
                hint=f"kled template promote {name} N makes another one active",
            )
        at = (version.archived_at or self._clock()) if archived else None
        await self._store.write(
            as_caller,
            grant_of(caller),
            caller.role,
            change_version,
            version.id,
            {"archived_at": at},
        )
        await self._audit.record(
            caller,
            Action.TEMPLATE_WRITE,
            ActionTarget(kind="template", name=name),
            detail=f"version {version.number} {'archived' if archived else 'brought back'}",
        )
        return replace(version, archived_at=at)

    async def delete(self, caller: Caller, name: str) -> None:
        """Delete a template that no workspace uses. Raises NotFoundError, ConflictError."""
        template = await self._find(caller, name, Action.TEMPLATE_DELETE)
        in_use = await self._store.write(
            as_caller, grant_of(caller), caller.role, delete_template, template.id, self._clock()
        )
        if in_use:
            raise _in_use(caller, name, in_use)
        await self._audit.record(
            caller, Action.TEMPLATE_DELETE, ActionTarget(kind="template", name=name)
        )

    async def _find(self, caller: Caller, name: str, action: Action) -> Template:
        await self._audit.require(caller, action, ActionTarget(kind="template", name=name))
        template = await self._store.read(template_by_name, name)
        if template is None:
            raise template_not_found(name)
        return template


def _in_use(caller: Caller, name: str, in_use: Sequence[tuple[str, str]]) -> ConflictError:
    """Who may delete a template may also see whose workspaces there are."""
    named = [
        workspace if owner == caller.user_name else f"{owner}/{workspace}"
        for owner, workspace in in_use[:_NAMED_MAX]
    ]
    more = f" and {len(in_use) - _NAMED_MAX} more" if len(in_use) > _NAMED_MAX else ""
    return ConflictError(
        "template_in_use",
        f"the template {name} is that of {len(in_use)} workspace{'s' if len(in_use) > 1 else ''}: "
        f"{', '.join(named)}{more}",
        hint="delete them first",
    )
