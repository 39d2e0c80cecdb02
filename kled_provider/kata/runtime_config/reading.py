"""Reads configurations of Kata from disk, as Kata does: the file, then `config.d` beside it."""

from __future__ import annotations

import os
import stat
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from kled_provider.kata.runtime_config.merged import H, Merged, R
from kled_provider.kata.runtime_config.other_keys import TABLES
from kled_provider.kata.runtime_config.problem import Problem
from kled_provider.kata.runtime_config.tables import Toml, hypervisor_of, merge, tables_of

FILE_BYTES: Final = 1024 * 1024
DROP_INS: Final = "config.d"
_SHARING: Final = ("virtio-fs", "virtio-fs-nydus")


# Where runtime-rs looks when it is given none, in this order (kata-types, config/default.rs).
USUAL_PATHS: Final = tuple(
    f"{directory}/kata-containers/runtime-rs/configuration.toml"
    for directory in ("/etc", "/usr/share/defaults", "/opt/kata/share/defaults")
)


def usual_configuration() -> str | None:
    """Return the configuration that Kata loads when it is given none; None: there is none."""
    return next((path for path in USUAL_PATHS if Path(path).exists()), None)


class ConfigFileError(Exception):
    """A configuration that Kata could not load either. `message` begins with the path."""

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


def read_configuration(path: str, *, without: str | None = None) -> Toml:
    """Return a configuration with its drop-ins, but the one of the name `without`.

    Raises ConfigFileError.
    """
    config = _parse(Path(path))
    for drop_in in _drop_ins(Path(path).parent / DROP_INS):
        if drop_in.name != without:
            config = merge(config, _parse(drop_in))
    return config


def read_merged(path: str) -> Merged:
    """Return a configuration with Kata's defaults. Raises ConfigFileError."""
    config = read_configuration(path)
    hypervisor = hypervisor_of(config)
    if hypervisor not in config.get(H, {}):
        raise ConfigFileError(f"{path}: it names no hypervisor that it has a table for")
    return Merged(hypervisor, tables_of(hypervisor, config))


def missing_files(merged: Merged) -> Iterator[Problem]:
    """Say which files are not there that Kata looks for before it starts a VM."""
    shares = merged.get((H, "shared_fs")) in _SHARING
    for table, key, index, path in _named(merged):
        if key == "virtio_fs_daemon" and not shares:
            continue
        if not os.path.exists(path):  # noqa: PTH110 - a path from a file, perhaps with NUL
            sentence = (
                f"There is no {path[:200]!r} on this machine, and Kata starts no VM then: let its "
                "owner put it there, or name another one."
            )
            yield Problem(table=table, key=key, sentence=sentence, index=index)


def _named(merged: Merged) -> Iterator[tuple[str, str, int | None, str]]:
    for key in TABLES[H]:
        if key.is_file and merged.is_on((H, key.name)):
            yield H, key.name, None, str(merged.get((H, key.name)))
    images = "hypervisor.guest_extension_images"
    for index, image in enumerate(merged.tables[images]):
        yield images, "path", index, str(image.get("path", ""))
    for mount in merged.get((R, "sandbox_bind_mounts")) or ():
        yield R, "sandbox_bind_mounts", None, str(mount).removesuffix(":ro").removesuffix(":rw")


def _drop_ins(directory: Path) -> list[Path]:
    try:
        found = sorted(directory.iterdir())
    except FileNotFoundError:
        return []
    except OSError as error:
        raise ConfigFileError(f"{directory}: {error.strerror}") from error
    for path in found:
        if path.is_symlink():
            raise ConfigFileError(f"{path}: Kata takes no link among drop-ins")
    return [path for path in found if path.is_file()]


def _parse(path: Path) -> Toml:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError as error:
        hint = "Is Kata installed? docs/kata.md says how. Kata 4.0.0 lacks Dragonball's file."
        raise ConfigFileError(f"{path}: there is no such file", hint=hint) from error
    except OSError as error:
        raise ConfigFileError(f"{path}: {error.strerror}") from error
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise ConfigFileError(f"{path}: it is not a regular file")
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            data = file.read(FILE_BYTES + 1)
    finally:
        os.close(descriptor)
    if len(data) > FILE_BYTES:
        raise ConfigFileError(f"{path}: it has more than {FILE_BYTES} bytes")
    try:
        return tomllib.loads(data.decode())
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        raise ConfigFileError(f"{path}: it is not TOML: {error}") from error
