"""Pack a template directory into the tar that `POST …/versions` takes."""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path

from kled_wire.errors import InputError
from kled_wire.limits import TEMPLATE_MAX_BYTES

# Never part of a template: other people's secrets, caches and version control.
_SKIPPED_DIRS = frozenset({".terraform", ".git", ".hg", ".svn", "__pycache__", "node_modules"})
_SKIPPED_NAMES = frozenset({".DS_Store", ".terraform.tfstate.lock.info", "crash.log"})
_KEPT_HIDDEN = frozenset({".terraform.lock.hcl"})


def is_packed(name: str) -> bool:
    """Whether a file called `name` belongs into a template."""
    if name in _KEPT_HIDDEN:
        return True
    if name.startswith(".") or name in _SKIPPED_NAMES:
        return False
    return ".tfstate" not in name and not name.endswith((".tfplan", ".swp", "~"))


def pack_template(directory: Path) -> bytes:
    """A gzipped tar of the directory, the same bytes for the same files.

    Raises InputError: not a directory, no .tf file, over 16 MiB, or a link out of the tree.
    """
    if not directory.is_dir():
        raise InputError("template_missing", f"{directory} is not a directory")
    paths = sorted(_walk(directory))
    if not any(
        path.parent == directory and path.name.endswith((".tf", ".tf.json")) for path in paths
    ):
        raise InputError(
            "template_empty",
            f"{directory} holds no .tf file",
            hint="give the directory with the template's main.tf",
        )
    buffer = io.BytesIO()
    total = 0
    with tarfile.open(fileobj=buffer, mode="w:gz", format=tarfile.PAX_FORMAT) as archive:
        for path in paths:
            total += path.stat().st_size
            _check_size(directory, total)
            _add(archive, directory, path)
    _check_size(directory, buffer.tell())
    return buffer.getvalue()


def _walk(directory: Path) -> Iterator[Path]:
    root = directory.resolve()
    for folder, folders, names in os.walk(directory):
        folders[:] = [name for name in folders if name not in _SKIPPED_DIRS and name[0] != "."]
        for name in filter(is_packed, names):
            path = Path(folder, name)
            if not path.is_file():
                continue
            if not path.resolve().is_relative_to(root):
                raise InputError(
                    "template_link_outside",
                    f"{path} points outside the template",
                    hint="copy the file into the directory",
                )
            yield path


def _add(archive: tarfile.TarFile, directory: Path, path: Path) -> None:
    info = tarfile.TarInfo(path.relative_to(directory).as_posix())
    try:
        data = path.read_bytes()
    except OSError as exc:
        raise InputError("template_unreadable", f"cannot read {path}: {exc.strerror}") from exc
    info.size = len(data)
    info.mode = 0o755 if path.stat().st_mode & 0o100 else 0o644
    archive.addfile(info, io.BytesIO(data))


def _check_size(directory: Path, size: int) -> None:
    if size > TEMPLATE_MAX_BYTES:
        raise InputError(
            "template_too_large",
            f"{directory} is over {TEMPLATE_MAX_BYTES // 2**20} MiB",
            hint="keep build results and binaries out of the template's directory",
        )
