"""Finds the containers of a workspace. One is made under an id of its own each time.

containerd 1.6 ends a task that was deleted once more, by its id, after the delete was answered
(runtime/v2, cleanupAfterDeadShim): of a new task of the same id it removed the directory before the
start, or killed the process after it.
"""

from __future__ import annotations

from kled_provider.containerd.api import ContainerdApi
from kled_provider.kata.container.cgroups import recorded_cgroups
from kled_provider.kata.container.identity import WORKSPACE_LABEL, id_prefix
from kled_provider.kata.container.making.directory import recorded_directories
from kled_provider.kata.container.making.joining import Joins
from kled_provider.kata.container.place import ContainerPlace
from kled_provider.kata.owner.file import OwnerFile


async def known_ids(api: ContainerdApi, workspace: str, prefix: str = "") -> set[str]:
    """Return the ids of which containerd has a container or a snapshot, those that begin so.

    `prefix` has letters, digits and hyphens alone. Raises ContainerdError.
    """
    of_workspace = f'labels."{WORKSPACE_LABEL}"=="{workspace}"'
    begins = f'~="^{prefix}"'
    containers = await api.containers.list(f"{of_workspace},id{begins}")
    snapshots = await api.snapshots.list(f"{of_workspace},name{begins}")
    return {*(each.id for each in containers), *(each.name for each in snapshots)}


async def find_places(
    api: ContainerdApi, owner: OwnerFile, workspace: str, name: str
) -> list[ContainerPlace]:
    """Return where there is something of a container of that name, whatever a killed run left.

    Raises HostError.
    """
    joins = Joins(owner)
    prefix = id_prefix(workspace, name)
    ids = await known_ids(api, workspace, prefix)
    ids |= {*joins.networks.recorded(prefix), *joins.outputs.recorded(prefix)}
    ids |= {*recorded_directories(owner.runtime_directory, prefix)}
    ids |= {*recorded_cgroups(owner.containerd.namespace, prefix)}
    return [ContainerPlace(api, owner, container) for container in sorted(ids)]
