"""Reads small files of an image from its unpacked layers, before anything of it is mounted.

The layers hold what a stranger made: no link is followed, and nothing but a file is read.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from kled_provider.containerd.types import Mount

_MAX_BYTES: Final = 1 << 20
_DIGITS: Final = re.compile(r"[0-9]{1,12}")
_MAX_ID: Final = (1 << 31) - 1  # what runc takes


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerUser:
    """Whose a process is, in numbers; `home` is empty where the image does not say."""

    uid: int
    gid: int
    groups: tuple[int, ...] = ()
    home: str = ""


class UserUnknownError(ValueError):
    """The image has no such user or group."""


def layers_of(mounts: Iterable[Mount]) -> list[str]:
    """Where the layers of a snapshot are on this machine, the uppermost first."""
    found: list[str] = []
    for mount in mounts:
        if mount.type == "bind":
            found.append(mount.source)
        options = dict(o.partition("=")[::2] for o in mount.options if "=" in o)
        found += [options["upperdir"]] if "upperdir" in options else []
        found += options.get("lowerdir", "").split(":") if options.get("lowerdir") else []
    return found


def read_file(layers: Iterable[str], path: str) -> str:
    """Read a text file, given without `/` at its start; empty where there is none that is one."""
    for layer in layers:
        try:
            descriptor = _open(layer, path.split("/"))
        except FileNotFoundError:
            continue
        except OSError:
            return ""
        with os.fdopen(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                return ""  # also overlayfs' mark that a lower file is gone
            return file.read(_MAX_BYTES).decode("utf-8", "replace")
    return ""


def _open(layer: str, parts: list[str]) -> int:
    at = os.open(layer, os.O_PATH | os.O_DIRECTORY)
    for index, part in enumerate(parts):
        is_last = index == len(parts) - 1
        flags = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        flags |= os.O_RDONLY if is_last else os.O_PATH | os.O_DIRECTORY
        try:
            below = os.open(part, flags, dir_fd=at)
        finally:
            os.close(at)
        at = below
    return at


def resolve_user(wanted: str, passwd: str, group: str) -> ContainerUser:
    """Find USER or USER:GROUP in passwd(5) and group(5). Raises UserUnknownError."""
    name, _, group_name = (wanted or "0").partition(":")
    users = [line.split(":") for line in passwd.replace("\0", "").splitlines()]
    lines = [line for line in users if len(line) >= 6 and _is_id(line[2]) and _is_id(line[3])]
    found = next((line for line in lines if line[0] == name), None)
    if found is None and _is_id(name):
        found = next((line for line in lines if int(line[2]) == int(name)), None)
    if found is None and not _is_id(name):
        raise UserUnknownError(f"the image has no user {name!r}, and it is no number of one")
    uid = int(found[2]) if found else int(name)
    gid = int(found[3]) if found else 0
    groups = _groups(found[0], group) if found else ()
    if group_name:
        gid, groups = _group(group_name, group), ()
    return ContainerUser(uid=uid, gid=gid, groups=groups, home=found[5] if found else "")


def _is_id(text: str) -> bool:
    """Whether it is the number of a user or group; what an image says may be anything."""
    return _DIGITS.fullmatch(text) is not None and int(text) <= _MAX_ID


def _groups(user: str, group: str) -> tuple[int, ...]:
    lines = [line.split(":") for line in group.splitlines()]
    return tuple(
        int(line[2])
        for line in lines
        if len(line) >= 4 and _is_id(line[2]) and user in line[3].split(",")
    )


def _group(name: str, group: str) -> int:
    for line in (line.split(":") for line in group.splitlines()):
        if len(line) >= 3 and line[0] == name and _is_id(line[2]):
            return int(line[2])
    if _is_id(name):
        return int(name)
    raise UserUnknownError(f"the image has no group {name!r}, and it is no number of one")
