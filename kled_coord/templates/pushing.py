"""Uploads: a valid one becomes an immutable version, an invalid one changes nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

import trio

from kled_coord.builds.runner import CheckedTemplate, Inquiry, TemplateChecker
from kled_coord.builds.running.variables import seal_fixed, values_of
from kled_coord.identity.audit import Audit
from kled_coord.identity.grants import grant_of
from kled_coord.policy.actions import Action, ActionTarget
from kled_coord.policy.decide import Caller
from kled_coord.sources import Clock, Ids
from kled_coord.store.engine import Store
from kled_coord.store.errors import DuplicateError
from kled_coord.store.sealing import Sealer
from kled_coord.store.standing import as_caller
from kled_coord.store.template_records import TemplateVersion
from kled_coord.store.templates import template_by_name
from kled_coord.store.versions import NewVersion, add_version
from kled_coord.templates.archive import Archive
from kled_coord.templates.deadlines import UNCHANGED, Deadlines
from kled_coord.templates.fixing import FixedVariables, ValuesFile, fix_variables
from kled_coord.templates.opening import open_archive
from kled_coord.templates.pushes import Pushes
from kled_coord.templates.questions import imagined_workspace
from kled_coord.terraform.process.command import BACKEND_FILE
from kled_coord.workspaces.parameters import (
    NONE,
    Parameters,
    check_sizes,
    check_values,
    missing_variables,
)
from kled_wire.errors import InputError, UnavailableError
from kled_wire.names import check_name, check_version_name

_MESSAGE_MAX: Final = 1000
_CHECKS: Final = 2
_VARIABLES_MAX: Final = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class PushValues:
    """What comes with an upload: values fixed for the version, and those of its check's plan."""

    variables: Mapping[str, str] = field(default_factory=dict, repr=False)
    files: Sequence[ValuesFile] = ()
    parameters: Mapping[str, str] = field(default_factory=dict)


NO_VALUES: Final = PushValues()


@dataclass(frozen=True, slots=True, kw_only=True)
class PushedTemplate:
    """A new version, and what its check has found."""

    version: TemplateVersion
    checked: CheckedTemplate


class Pushing:
    """Checks uploads, two at a time, and makes versions of them."""

    def __init__(
        self,
        *,
        store: Store,
        clock: Clock,
        ids: Ids,
        audit: Audit,
        sealer: Sealer,
        check: TemplateChecker,
        check_deadline_s: float,
        access_url: str,
    ) -> None:
        self._store = store
        self._clock = clock
        self._ids = ids
        self._audit = audit
        self._sealer = sealer
        self._check = check
        self._check_deadline_s = check_deadline_s
        self._access_url = access_url
        self._pushes = Pushes()
        self._opening = trio.CapacityLimiter(_CHECKS)
        # Two at a time: one that waits for a registry keeps nobody else's from being checked.
        self._checking = trio.CapacityLimiter(_CHECKS)

    async def validate(
        self, caller: Caller, name: str, *, upload: bytes, values: PushValues = NO_VALUES
    ) -> CheckedTemplate:
        """Check an upload as `push` does, and keep nothing. Raises as `push`."""
        _, checked = await self._examine(caller, name, upload, UNCHANGED, values)
        return checked[1]

    async def push(
        self,
        caller: Caller,
        name: str,
        *,
        message: str,
        upload: bytes,
        version_name: str | None = None,
        deadlines: Deadlines = UNCHANGED,
        activate: bool = True,
        values: PushValues = NO_VALUES,
    ) -> PushedTemplate:
        """Check an upload and make it a version, the active one unless that is not wanted.

        `deadlines` are the template's from this check on. Cancelled, it changes nothing either, or
        all. Raises InputError("template_invalid", "variable_unknown", "version_malformed"),
        ConflictError("version_name_taken"), ForbiddenError, LimitError,
        UnavailableError("template_check_timeout").
        """
        if version_name is not None:
            check_version_name(version_name)
        archive, (fixed, checked) = await self._examine(caller, name, upload, deadlines, values)
        version_id = self._ids.new("ver")
        answer = checked.answer
        new = NewVersion(
            id=version_id,
            name=version_name,
            message=message[:_MESSAGE_MAX],
            archive=archive.tar,
            readme=archive.readme,
            variables=archive.variables,
            fixed=fixed.shown,
            fixed_sealed=seal_fixed(self._sealer, version_id, fixed.secret),
            parameters=None if answer is None else answer.parameters,
            presets=answer.presets if answer else (),
            user_id=caller.user_id,
            created_at=self._clock(),
        )
        columns = deadlines.columns()
        return PushedTemplate(
            version=await self._keep(caller, name, new, columns, activate=activate),
            checked=checked,
        )

    async def _examine(
        self, caller: Caller, name: str, upload: bytes, deadlines: Deadlines, values: PushValues
    ) -> tuple[Archive, tuple[FixedVariables, CheckedTemplate]]:
        check_name("template", name)
        check_sizes(values.parameters)
        resource = ActionTarget(kind="template", name=name)
        await self._audit.require(caller, Action.TEMPLATE_WRITE, resource)
        with self._pushes.admitted(caller.user_id):
            async with self._opening:
                archive = await open_archive(upload)
            _check_declarations(archive)
            check_values(archive.variables, values.parameters)
            fixed = fix_variables(archive.variables, values.files, values.variables)
            version = self._version(caller, name, archive, fixed)
            inquiry = await self._inquiry(caller, version, archive, fixed, values.parameters)
            deadline_s = await self._check_deadline(name, deadlines)
            checked = await self._check_in_turn(inquiry, deadline_s)
        return archive, (fixed, checked)

    def _version(
        self, caller: Caller, name: str, archive: Archive, fixed: FixedVariables
    ) -> TemplateVersion:
        """What it would be, for those that look at versions."""
        return TemplateVersion(
            id="",
            template_id="",
            template=name,
            number=0,
            name=None,
            message="",
            variables=archive.variables,
            fixed=fixed.shown,
            parameters=None,
            presets=(),
            created_at=self._clock(),
            created_by=caller.user_name,
            archived_at=None,
        )

    async def _inquiry(
        self,
        caller: Caller,
        version: TemplateVersion,
        archive: Archive,
        fixed: FixedVariables,
        given: Mapping[str, str],
    ) -> Inquiry:
        return Inquiry(
            template=archive.tar,
            names=[variable.name for variable in version.variables],
            variables=values_of(
                version,
                Parameters(plain=given, secret={}),
                {**fixed.plain, **fixed.secret},
            ),
            workspace=await imagined_workspace(
                self._store, caller, version, given, NONE.plain, access_url=self._access_url
            ),
            is_planned=not missing_variables(version, given),
        )

    async def _keep(
        self,
        caller: Caller,
        name: str,
        new: NewVersion,
        columns: Mapping[str, Any],
        *,
        activate: bool,
    ) -> TemplateVersion:
        add = partial(
            add_version,
            name=name,
            new_template_id=self._ids.new("tpl"),
            version=new,
            columns=columns,
            activate=activate,
        )

        async def write() -> TemplateVersion:
            return await self._store.write(as_caller, grant_of(caller), caller.role, add)

        # Two transactions that belong together, milliseconds each.
        with trio.CancelScope(shield=True):
            try:
                version = await write()
            except DuplicateError:
                version = await write()  # somebody else made the template: it is there now
            await self._audit.record(
                caller,
                Action.TEMPLATE_WRITE,
                ActionTarget(kind="template", name=name),
                detail=f"version {version.number}",
            )
        return version

    async def _check_deadline(self, name: str, wanted: Deadlines) -> float:
        """How long the check of a pushed template may take."""
        template = await self._store.read(template_by_name, name)
        columns = {"check_deadline_s": template and template.check_deadline_s, **wanted.columns()}
        return columns["check_deadline_s"] or self._check_deadline_s

    async def _check_in_turn(self, inquiry: Inquiry, deadline_s: float) -> CheckedTemplate:
        async with self._checking:
            with trio.move_on_after(deadline_s):
                return await self._check(inquiry)
        raise UnavailableError(
            "template_check_timeout",
            f"Terraform did not finish checking the template within {deadline_s:.0f} s",
            hint="can the coordinator reach the provider registry? push --check-deadline-s "
            "gives it more time",
        )


def _check_declarations(archive: Archive) -> None:
    """Raise InputError where Terraform takes a template that a workspace cannot have."""
    # Override files are merged by name, and the last one wins.
    if later := [name for name in archive.backends if name > BACKEND_FILE]:
        raise InputError(
            "template_invalid",
            f"{later[0]}: a template must not configure where its state is stored",
            hint="remove the `backend` or `cloud` block",
        )
    if len(archive.variables) > _VARIABLES_MAX:
        raise InputError("template_invalid", f"it declares more than {_VARIABLES_MAX} variables")
