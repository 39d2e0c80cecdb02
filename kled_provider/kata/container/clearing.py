"""Ends every container of a workspace, those that no state knows too."""

from __future__ import annotations

import signal

from kled_provider.containerd.api import ContainerdApi
from kled_provider.kata.container.finding import known_ids
from kled_provider.kata.container.place import ContainerPlace
from kled_provider.kata.owner.file import OwnerFile


async def clear_workspace(api: ContainerdApi, owner: OwnerFile, workspace: str) -> None:
    """End the containers of a workspace, and what was made for one that a create had begun.

    Raises HostError, OSError.
    """
    for container in sorted(await known_ids(api, workspace)):
        await ContainerPlace(api, owner, container).clear(signal.SIGKILL, 0)
