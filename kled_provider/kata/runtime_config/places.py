"""Where the configurations of a workspace stand. No I/O."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import quote

from kled_provider.kata.owner.file import OwnerFile

FILE_NAME: Final = "configuration.toml"
NAME: Final = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"


def configurations_directory(owner: OwnerFile) -> str:
    """Return the directory of all workspaces' configurations."""
    return f"{owner.state_directory}/configurations"


def workspace_directory(owner: OwnerFile, workspace_id: str) -> str:
    """Return the directory of one workspace's configurations."""
    return f"{configurations_directory(owner)}/{quote(workspace_id, safe='')}"


def file_path(owner: OwnerFile, workspace_id: str, name: str) -> str:
    """Return the path of a configuration: alone in a directory, because Kata reads `config.d`."""
    return f"{workspace_directory(owner, workspace_id)}/{name}/{FILE_NAME}"


def is_configuration_of(owner: OwnerFile, workspace_id: str, path: str) -> bool:
    """Whether a path is one that a kata_runtime_config of the workspace has.

    With drop-ins that is a path of the owner's file.
    """
    begin, end = f"{workspace_directory(owner, workspace_id)}/", f"/{FILE_NAME}"
    name = path.removeprefix(begin).removesuffix(end)
    if path == f"{begin}{name}{end}" and re.fullmatch(NAME, name):
        return True
    return any(path == found.path and found.drop_ins for found in owner.configurations.values())


def configuration_named(owner: OwnerFile, name: str | None) -> str | None:
    """Return the path of a configuration of the owner's file; None for none."""
    found = owner.configurations.get(name) if name is not None else None
    return found.path if found else None
