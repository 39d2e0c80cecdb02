"""What is secret in a workspace: hidden in all that its builds, scripts and programs print."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Final

import trio

from kled_coord.builds.running.variables import open_fixed
from kled_coord.builds.states.backend import States
from kled_coord.builds.states.sensitive import sensitive_values
from kled_coord.store.engine import Store
from kled_coord.store.sealing import Sealer
from kled_coord.store.template_records import TemplateVersion
from kled_coord.store.versions import version_archive, version_by_id, version_fixed_sealed
from kled_coord.store.workspaces import workspace_by_id, workspace_secrets
from kled_coord.terraform.source.variables import sensitive_defaults
from kled_coord.workspaces.parameters import open_parameters
from kled_wire.names import WorkspaceId

# Versions whose defaults are kept: agents of one template often connect together.
_VERSIONS_MAX: Final = 100


class Secrets:
    """Collects the values from where they are sealed, and from the template itself."""

    def __init__(self, *, store: Store, sealer: Sealer, states: States) -> None:
        self._store = store
        self._sealer = sealer
        self._states = states
        self._defaults: OrderedDict[str, Sequence[str]] = OrderedDict()

    async def values(self, workspace_id: WorkspaceId) -> tuple[str, ...]:
        """Sensitive parameters, fixed and default variables, and values that the state marks.

        All as they were applied last. Raises StoreError, KledError("sealed_unreadable").
        """
        sealed = await self._store.read(workspace_secrets, workspace_id)
        parameters = open_parameters(self._sealer, workspace_id, {}, sealed).secret
        workspace = await self._store.read(workspace_by_id, workspace_id)
        assert workspace is not None
        version = await self._store.read(version_by_id, workspace.version_id)
        marked = await self._states.look(workspace_id, sensitive_values)
        fixed, defaults = await self._fixed(version), await self._defaults_of(version)
        return (*parameters.values(), *fixed, *defaults, *marked)

    async def _fixed(self, version: TemplateVersion) -> list[str]:
        sealed = await self._store.read(version_fixed_sealed, version.id)
        found = open_fixed(self._sealer, version, sealed)
        return [text for name, text in found.items() if version.fixed.get(name) is None]

    async def _defaults_of(self, version: TemplateVersion) -> Sequence[str]:
        """The sensitive defaults of a version, which never change: so they are kept."""
        if version.id not in self._defaults:
            archive = await self._store.read(version_archive, version.id)
            found = await trio.to_thread.run_sync(sensitive_defaults, archive)
            self._defaults[version.id] = found
            if len(self._defaults) > _VERSIONS_MAX:
                self._defaults.popitem(last=False)
        return self._defaults[version.id]
