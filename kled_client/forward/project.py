"""`.kled.toml`: which workspace a project uses, and what of it is forwarded.

    workspace = "dev"

    [forward]
    local = ["8080", "0:3000-3010"]
    remote = ["9000"]
    dynamic = ["1080"]
    udp = ["5353"]
    auto = true

    [[sync]]
    local = "."
    remote = "proj"
    mode = "two-way-safe"
    ignore = ["*.log"]
    preset = ["python"]

Parsed here from text; reading the file is its caller's.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from kled_client.forward.spec import Forward, ForwardKind, parse_forward
from kled_wire.errors import ConfigError, KledError
from kled_wire.names import WorkspaceRef, parse_workspace_ref

FILE_NAME = ".kled.toml"
_KINDS = {
    "local": ForwardKind.LOCAL,
    "remote": ForwardKind.REMOTE,
    "dynamic": ForwardKind.DYNAMIC,
    "udp": ForwardKind.UDP,
}


_SYNC_WORDS: Final = ("local", "remote", "mode", "permissions")
_BY_HAND: Final = {"owner", "group", "numeric_ids"}


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectSync:
    """A folder of the project, and what it is called in the workspace."""

    local: str
    remote: str
    mode: str = "two-way-safe"
    ignore: tuple[str, ...] = ()
    preset: tuple[str, ...] = ()
    permissions: str = "portable"
    xattrs: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    """What the file says."""

    workspace: WorkspaceRef
    forwards: tuple[Forward, ...] = ()
    auto: bool = False
    syncs: tuple[ProjectSync, ...] = ()


def project_files(directory: Path) -> Iterable[Path]:
    """Where the file may be: in `directory` or one above it, nearest first."""
    return (place / FILE_NAME for place in (directory, *directory.parents))


def parse_project(text: str, name: str = FILE_NAME) -> Project:
    """Raises ConfigError("project_invalid") with what is wrong in `name`."""
    try:
        raw = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as exc:
        raise _invalid(name, str(exc)) from exc
    _only(name, raw, {"workspace", "forward", "sync"}, "")
    workspace, forward = raw.get("workspace"), raw.get("forward", {})
    if not isinstance(workspace, str):
        raise _invalid(name, 'it does not say which workspace: workspace = "NAME"')
    if not isinstance(forward, dict):
        raise _invalid(name, "`forward` is not a table: [forward]")
    _only(name, forward, {*_KINDS, "auto"}, "forward.")
    auto = forward.get("auto", False)
    if not isinstance(auto, bool):
        raise _invalid(name, "`forward.auto` is neither true nor false")
    try:
        return Project(
            workspace=parse_workspace_ref(workspace),
            forwards=tuple(_forwards(name, forward)),
            auto=auto,
            syncs=tuple(_syncs(name, raw.get("sync", []))),
        )
    except ConfigError:
        raise
    except KledError as exc:
        raise _invalid(name, exc.message) from exc


def _forwards(name: str, table: dict[str, Any]) -> Iterable[Forward]:
    for key, kind in _KINDS.items():
        specs = table.get(key, [])
        if not isinstance(specs, list):
            raise _invalid(name, f'`forward.{key}` is not a list: {key} = ["8080"]')
        for spec in specs:
            if isinstance(spec, bool) or not isinstance(spec, str | int):
                raise _invalid(name, f"`forward.{key}` holds something that is no forward")
            yield from parse_forward(str(spec), kind)


def _syncs(name: str, tables: object) -> Iterable[ProjectSync]:
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise _invalid(name, "`sync` is not a list of tables: [[sync]]")
    for table in tables:
        _check_sync_keys(name, table)
        words = {key: table[key] for key in _SYNC_WORDS if key in table}
        if not all(isinstance(w, str) and w and "\0" not in w for w in words.values()):
            raise _invalid(name, "`sync.local`, `remote`, `mode` and `permissions` are words")
        local, remote = words.get("local", "."), words.get("remote")
        if remote is None:
            raise _invalid(name, '`sync.remote` is missing: remote = "PATH"')
        if local.startswith(("/", "~")) or ".." in local.split("/"):
            raise _invalid(name, "`sync.local` is a folder inside the project")
        lists = {key: table.get(key, []) for key in ("ignore", "preset")}
        if not all(isinstance(v, list) and all(isinstance(w, str) for w in v)
                   for v in lists.values()):  # fmt: skip
            raise _invalid(name, "`sync.ignore` and `sync.preset` are lists of words")
        yield ProjectSync(
            local=local,
            remote=remote,
            mode=words.get("mode", "two-way-safe"),
            ignore=tuple(lists["ignore"]),
            preset=tuple(lists["preset"]),
            permissions=words.get("permissions", "portable"),
            xattrs=table.get("xattrs", False),
        )


def _check_sync_keys(name: str, table: dict[str, Any]) -> None:
    """Refuse unknown keys, and owners and special bits: a cloned repository may have the file."""
    asked = sorted(set(table) & _BY_HAND)
    if table.get("permissions") == "special":
        asked.append("permissions = special")
    if asked:
        raise _invalid(name, f"`sync.{asked[0]}` is an option of `kled sync start` alone")
    _only(name, table, {*_SYNC_WORDS, "ignore", "preset", "xattrs"}, "sync.")
    if not isinstance(table.get("xattrs", False), bool):
        raise _invalid(name, "`sync.xattrs` is neither true nor false")


def _only(name: str, table: dict[str, Any], known: set[str], prefix: str) -> None:
    if unknown := sorted(set(table) - known):
        raise _invalid(name, f"`{prefix}{unknown[0]}` is not known")


def _invalid(name: str, why: str) -> ConfigError:
    return ConfigError("project_invalid", f"{name}: {why}", hint="docs/cli.md, Projects")
