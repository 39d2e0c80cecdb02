"""Small files only their owner may read, written so that nobody ever sees half of one."""
# ruff: noqa: PTH102, PTH103, PTH105, PTH108, PTH112, PTH120, PTH123
# `kled stream` uses this; pathlib would add 5 ms to every ssh connection.

from __future__ import annotations

import os
import stat

from kled_wire.errors import ConfigError, InputError

PRIVATE_DIR_MODE = 0o700
PRIVATE_FILE_MODE = 0o600
_HINT = "set KLED_CONFIG_DIR to a directory you may write, with room"


def ensure_private_dir(path: str) -> None:
    """Make `path` and its parents; the last part is 0700 when it is new. Raises ConfigError."""
    try:
        make_private_dir(path)
    except OSError as exc:
        raise ConfigError(
            "config_not_writable",
            f"cannot make the directory {path}: {exc.strerror}",
            hint=_HINT,
        ) from exc


def make_private_dir(path: str) -> None:
    """`ensure_private_dir` of what is no configuration. Raises OSError."""
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    if not os.path.isdir(path):
        try:
            os.mkdir(path, PRIVATE_DIR_MODE)
        except FileExistsError:
            return  # another kled made it between the two calls


def write_private(path: str, data: bytes) -> None:
    """Replace `path`, of our own files, by a 0600 file with `data`. Raises ConfigError."""
    try:
        replace_private(path, data)
    except OSError as exc:
        raise ConfigError(
            "config_not_writable", f"cannot write {path}: {exc.strerror}", hint=_HINT
        ) from exc


def write_secret(path: str, data: bytes) -> None:
    """Replace `path`, which the user named, by a 0600 file with `data`. Raises InputError."""
    try:
        replace_private(path, data)
    except OSError as exc:
        raise InputError(
            "file_unwritable",
            f"cannot write {path}: {exc.strerror}",
            hint="name a file in a directory that you may write",
        ) from exc


def replace_private(path: str, data: bytes) -> None:
    """Replace `path` by a 0600 file with `data`, in one rename. Raises OSError."""
    temporary = f"{path}.{os.getpid()}.tmp"
    descriptor = os.open(
        temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, PRIVATE_FILE_MODE
    )
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(file.fileno(), PRIVATE_FILE_MODE)
            file.write(data)
        os.replace(temporary, path)
    except OSError:
        os.unlink(temporary)
        raise


def read_private(path: str) -> bytes:
    """Return the bytes of a secret file.

    Raises ConfigError("secret_readable") when others may read it, and FileNotFoundError.
    """
    try:
        with open(path, "rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            if mode & 0o077:
                raise ConfigError(
                    "secret_readable",
                    f"{path} holds a secret and other users may read it (mode {mode:04o})",
                    hint=f"chmod 600 {path}",
                )
            return file.read()
    except FileNotFoundError:
        raise
    except OSError as exc:
        raise ConfigError("config_unreadable", f"cannot read {path}: {exc.strerror}") from exc


def remove(path: str) -> None:
    """Delete a file; one that is not there is fine. Raises ConfigError."""
    try:
        os.unlink(path)
    except FileNotFoundError:
        return
    except OSError as exc:
        raise ConfigError("config_not_writable", f"cannot delete {path}: {exc.strerror}") from exc
