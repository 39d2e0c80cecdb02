"""What a container gets of this machine's own: mounts beneath places, uploaded files, devices."""

from __future__ import annotations

import base64
import os
import stat
from pathlib import Path
from typing import Final

from kled_provider.kata.container.declared.spec import SpecDevice, SpecMount
from kled_provider.kata.container.declared.value_checks import MAX_UPLOAD_BYTES
from kled_provider.kata.container.making.checking import refused_path
from kled_provider.kata.owner.file import OwnerFile, Use
from kled_provider.kata.paths.beneath import PathKind, PathRefusedError, opened_beneath
from kled_provider.kata.paths.pinned import pin, unpin
from kled_provider.plugin.diagnostics import DiagnosticError
from kled_provider.plugin.values import Values

PINS: Final = "pins"


def pin_mounts(values: Values, owner: OwnerFile, directory: Path) -> list[SpecMount]:
    """Pin what the `mount` blocks name below `directory`. Raises DiagnosticError, OSError."""
    places = owner.places_for(Use.MOUNT).values()
    found = []
    for index, block in enumerate(values["mount"]):
        place = directory / PINS / str(index)
        try:
            with opened_beneath(block["source"], [p.path for p in places]) as opened:
                root = opened.where.root
                pin(opened, place)
        except PathRefusedError as error:
            raise DiagnosticError(refused_path(error, ("mount", index, "source"))) from error
        is_read_only = bool(block["read_only"]) or any(
            p.read_only for p in places if p.path == root
        )
        options = ("rbind", "rprivate", "nosuid", "nodev", "ro" if is_read_only else "rw")
        found.append(SpecMount(target=block["target"], source=str(place), options=options))
    return found


def unpin_mounts(directory: Path) -> None:
    """Take away what is pinned; nothing there is no error. Raises OSError."""
    pins = directory / PINS
    if pins.is_dir():
        for place in pins.iterdir():
            unpin(place)
        pins.rmdir()


def uploaded(block: Values, index: int, owner: OwnerFile) -> bytes:
    """Return what an `upload` block's file holds. Raises DiagnosticError, OSError."""
    if block["content"] is not None:
        return str(block["content"]).encode()
    if block["content_base64"] is not None:
        return base64.b64decode(block["content_base64"])
    return _read_source(block["source"], index, owner)


def _read_source(source: str, index: int, owner: OwnerFile) -> bytes:
    roots = [place.path for place in owner.places_for(Use.UPLOAD).values()]
    path = ("upload", index, "source")
    try:
        with opened_beneath(source, roots, PathKind.FILE) as opened:
            descriptor = opened.reopen()
            with os.fdopen(descriptor, "rb") as file:
                data = file.read(MAX_UPLOAD_BYTES + 1)
    except PathRefusedError as error:
        raise DiagnosticError(refused_path(error, path)) from error
    if len(data) > MAX_UPLOAD_BYTES:
        text = f"It has over {MAX_UPLOAD_BYTES} bytes. Use a volume."
        raise DiagnosticError.of("The file is too large", text, path=path)
    return data


def device_nodes(values: Values, owner: OwnerFile) -> list[SpecDevice]:
    """Look at the devices that the owner's file names. Raises DiagnosticError."""
    found = []
    for index, block in enumerate(values["device"]):
        path = owner.devices[block["name"]]
        try:
            status = Path(path).stat()
        except OSError as error:
            raise _no_device(index, f"{path}: {error.strerror}") from error
        if not (stat.S_ISCHR(status.st_mode) or stat.S_ISBLK(status.st_mode)):
            raise _no_device(index, f"{path} is no device")
        found.append(
            SpecDevice(
                path=block["target"] or path,
                kind="c" if stat.S_ISCHR(status.st_mode) else "b",
                major=os.major(status.st_rdev),
                minor=os.minor(status.st_rdev),
                access=block["permissions"],
            )
        )
    return found


def _no_device(index: int, why: str) -> DiagnosticError:
    return DiagnosticError.of("The device is not there", f"{why}.", path=("device", index, "name"))
