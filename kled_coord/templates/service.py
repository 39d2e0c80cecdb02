"""Templates: an upload that passes every check becomes an immutable version."""

from __future__ import annotations

from functools import partial
from typing import Final

import trio

from kled_coord.builds.runner import TemplateChecker
from kled_coord.identity.audit import Audit
from kled_coord.identity.grants import grant_of
from kled_coord.policy.actions import Action, ActionTarget
from kled_coord.policy.decide import Caller
from kled_coord.sources import Clock, Ids
from kled_coord.store.engine import Store
from kled_coord.store.errors import DuplicateError
from kled_coord.store.records import Template, TemplateVersion
from kled_coord.store.standing import as_caller
from kled_coord.store.templates import (
    NewVersion,
    add_version,
    delete_template,
    list_templates,
    list_versions,
    set_deadlines,
    template_by_name,
    template_not_found,
    version_by_number,
)
from kled_coord.templates.archive import Archive
from kled_coord.templates.deadlines import UNCHANGED, Deadlines
from kled_coord.templates.opening import open_archive
from kled_coord.templates.pushes import Pushes
from kled_coord.terraform.command import BACKEND_FILE
from kled_wire.errors import ConflictError, InputError, NotFoundError, UnavailableError
from kled_wire.names import check_name

_MESSAGE_MAX: Final = 1000
_CHECKS: Final = 2
_VARIABLES_MAX: Final = 500


class Templates:
    """Keeps templates and their versions."""

    def __init__(
        self,
        *,
        store: Store,
        clock: Clock,
        ids: Ids,
        audit: Audit,
        check: TemplateChecker,
        check_deadline_s: float,
    ) -> None:
        self._store = store
        self._clock = clock
        self._ids = ids
        self._audit = audit
        self._check = check
        self._check_deadline_s = check_deadline_s
        self._pushes = Pushes()
        self._opening = trio.CapacityLimiter(_CHECKS)
        # Two at a time: one that waits for a registry keeps nobody else's from being checked.
        self._checking = trio.CapacityLimiter(_CHECKS)

    async def list_all(self, caller: Caller) -> list[Template]:
        """All templates, by name."""
        await self._audit.require(caller, Action.TEMPLATE_READ, ActionTarget(kind="template"))
        return await self._store.read(list_templates)

    async def get(self, caller: Caller, name: str) -> tuple[Template, list[TemplateVersion]]:
        """A template and its versions, the newest first. Raises NotFoundError."""
        template = await self._find(caller, name, Action.TEMPLATE_READ)
        return template, await self._store.read(list_versions, template.id)

    async def version(self, caller: Caller, name: str, number: int | None) -> TemplateVersion:
        """A version by number, None for the active one. Raises NotFoundError."""
        template = await self._find(caller, name, Action.TEMPLATE_READ)
        wanted = template.active_version if number is None else number
        version = await self._store.read(version_by_number, template.id, wanted)
        if version is None:
            raise NotFoundError("version_not_found", f"the template {name} has no version {wanted}")
        return version

    async def push(
        self,
        caller: Caller,
        name: str,
        *,
        message: str,
        upload: bytes,
        deadlines: Deadlines = UNCHANGED,
    ) -> TemplateVersion:
        """Check an upload and make it the active version. A bad one changes nothing.

        `deadlines` are the template's from this check on. Cancelled, it changes nothing either, or
        all. Raises InputError("template_invalid"), ForbiddenError, LimitError,
        UnavailableError("template_check_timeout").
        """
        check_name("template", name)
        resource = ActionTarget(kind="template", name=name)
        await self._audit.require(caller, Action.TEMPLATE_WRITE, resource)
        with self._pushes.admitted(caller.user_id):
            async with self._opening:
                archive = await open_archive(upload)
            _check_declarations(archive)
            await self._check_in_turn(archive.tar, await self._check_deadline(name, deadlines))
        new = NewVersion(
            id=self._ids.new("ver"),
            message=message[:_MESSAGE_MAX],
            archive=archive.tar,
            variables=archive.variables,
            user_id=caller.user_id,
            created_at=self._clock(),
        )
        # Two transactions that belong together, milliseconds each.
        with trio.CancelScope(shield=True):
            add = partial(
                add_version,
                name=name,
                new_template_id=self._ids.new("tpl"),
                version=new,
                deadlines=deadlines.columns(),
            )

            async def write() -> TemplateVersion:
                return await self._store.write(as_caller, grant_of(caller), caller.role, add)

            try:
                version = await write()
            except DuplicateError:
                version = await write()  # somebody else made the template: it is there now
            await self._audit.record(
                caller, Action.TEMPLATE_WRITE, resource, detail=f"version {version.number}"
            )
        return version

    async def set_deadlines(self, caller: Caller, name: str, deadlines: Deadlines) -> Template:
        """Change a template's deadlines. Raises NotFoundError, ForbiddenError."""
        resource = ActionTarget(kind="template", name=name)
        await self._audit.require(caller, Action.TEMPLATE_WRITE, resource)
        columns = deadlines.columns()
        grant, now = grant_of(caller), self._clock()
        changed = await self._store.write(
            as_caller, grant, caller.role, set_deadlines, name, columns, now
        )
        told = ", ".join(f"{column} {value}" for column, value in columns.items())
        await self._audit.record(caller, Action.TEMPLATE_WRITE, resource, detail=told)
        return changed

    async def _check_deadline(self, name: str, wanted: Deadlines) -> float:
        """How long the check of a pushed template may take."""
        template = await self._store.read(template_by_name, name)
        columns = {"check_deadline_s": template and template.check_deadline_s, **wanted.columns()}
        return columns["check_deadline_s"] or self._check_deadline_s

    async def _check_in_turn(self, tar: bytes, deadline_s: float) -> None:
        async with self._checking:
            with trio.move_on_after(deadline_s):
                await self._check(tar)
                return
        raise UnavailableError(
            "template_check_timeout",
            f"Terraform did not finish checking the template within {deadline_s:.0f} s",
            hint="can the coordinator reach the registry of its providers? push --check-deadline-s "
            "gives it more time",
        )

    async def delete(self, caller: Caller, name: str) -> None:
        """Delete a template that no workspace uses. Raises NotFoundError, ConflictError."""
        template = await self._find(caller, name, Action.TEMPLATE_DELETE)
        users = await self._store.write(
            as_caller, grant_of(caller), caller.role, delete_template, template.id, self._clock()
        )
        if users:
            raise ConflictError(
                "template_in_use",
                f"{users} workspace{'s' if users > 1 else ''} of the template {name} exist",
                hint="delete them first",
            )
        await self._audit.record(
            caller, Action.TEMPLATE_DELETE, ActionTarget(kind="template", name=name)
        )

    async def _find(self, caller: Caller, name: str, action: Action) -> Template:
        await self._audit.require(caller, action, ActionTarget(kind="template", name=name))
        template = await self._store.read(template_by_name, name)
        if template is None:
            raise template_not_found(name)
        return template


def _check_declarations(archive: Archive) -> None:
    """Raise InputError where Terraform takes a template that a workspace cannot have."""
    # Override files are merged by name, and the last one wins.
    if later := [name for name in archive.backends if name > BACKEND_FILE]:
        raise InputError(
            "template_invalid",
            f"{later[0]}: a template may not choose where its state is kept",
            hint="remove the `backend` or `cloud` block",
        )
    if len(archive.variables) > _VARIABLES_MAX:
        raise InputError("template_invalid", f"it declares more than {_VARIABLES_MAX} variables")
