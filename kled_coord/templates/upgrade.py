"""Upgrades versions of an older release: lists their variables, seals sensitive values.

That release stored archives as they were uploaded. They are replaced by tars of plain files, as new
uploads are; an archive that cannot be opened within limits is not changed.

The upgrade runs once, at the start. Old backups still have the values in clear.
"""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from typing import Any

import structlog

from kled_coord.store.engine import Store
from kled_coord.store.sealing import Sealer
from kled_coord.store.template_records import TemplateVersion
from kled_coord.store.versions import (
    change_version,
    rewrite_parameters,
    unread_versions,
    version_archive,
    version_by_id,
)
from kled_coord.templates.archive import Archive
from kled_coord.templates.opening import open_archive
from kled_coord.workspaces.parameters import open_parameters, split_parameters
from kled_wire.errors import InputError
from kled_wire.names import WorkspaceId

log = structlog.get_logger(__name__)


async def list_old_variables(store: Store, sealer: Sealer) -> None:
    """Bring old versions and the parameters of their workspaces up to date. Raises StoreError."""
    for version_id in await store.read(unread_versions):
        archive = await store.read(version_archive, version_id)
        opened = await _open(version_id, archive)
        await store.write(_keep, version_id, opened, sealer)
        log.info("template_variables_listed", version=version_id, variables=len(opened.variables))


async def _open(version_id: str, archive: bytes) -> Archive:
    try:
        return await open_archive(archive)
    except InputError as error:
        log.warning("template_unreadable", version=version_id, reason=error.message)
        return Archive(tar=archive, files=())


def _keep(connection: Any, version_id: str, opened: Archive, sealer: Sealer) -> None:
    variables = [asdict(variable) for variable in opened.variables]
    change_version(connection, version_id, {"variables": variables, "archive": opened.tar})
    version = version_by_id(connection, version_id)
    rewrite_parameters(connection, version_id, partial(_seal, version, sealer))


def _seal(
    version: TemplateVersion,
    sealer: Sealer,
    workspace_id: WorkspaceId,
    shown: dict[str, str | None],
    sealed: bytes | None,
) -> tuple[dict[str, str | None], bytes | None]:
    found = open_parameters(sealer, workspace_id, shown, sealed)
    split = split_parameters(version, {**found.plain, **found.secret})
    return split.shown, split.seal(sealer, workspace_id)
