"""Pack a template directory into the tar that `POST …/versions` takes."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path

from kled_wire.errors import InputError
from kled_wire.limits import TEMPLATE_MAX_BYTES

# Never part of a template: other people's secrets, caches and version control.
_SKIPPED_DIRS = frozenset({".terraform", ".git", ".hg", ".svn", "__pycache__", "node_modules"})
_SKIPPED_NAMES = frozenset({".DS_Store", ".terraform.tfstate.lock.info", "crash.log"})
# With directories, and what is met again through links.
_ENTRIES_MAX = 10_000
_KEPT_HIDDEN = frozenset({".terraform.lock.hcl"})


def is_packed(name: str) -> bool:
    """Whether a file called `name` belongs into a template."""
    if name in _KEPT_HIDDEN:
        return True
    if name.startswith(".") or name in _SKIPPED_NAMES:
        return False
    return ".tfstate" not in name and not name.endswith((".tfplan", ".swp", "~"))


class _Fate(Enum):
    """Whether an entry of a template's directory is packed, left out or looked into."""

    TAKEN = auto()
    LEFT_OUT = auto()
    ENTERED = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class Packed:
    """A gzipped tar, and what of the directory is not in it: paths, directories with a / behind."""

    archive: bytes
    left_out: tuple[str, ...]


def pack_template(directory: Path, *, max_bytes: int = TEMPLATE_MAX_BYTES) -> Packed:
    """Pack a directory: the same bytes for the same files, links replaced by what they lead to.

    Raises InputError: not a directory, no .tf file, over 16 MiB, a link that leads nowhere, out of
    the tree or round in a circle.
    """
    if not directory.is_dir():
        raise InputError("template_missing", f"{directory} is not a directory")
    paths: list[Path] = []
    left_out: list[str] = []
    for number, (path, fate) in enumerate(_walk(directory, (directory.resolve(),)), start=1):
        if number > _ENTRIES_MAX:
            raise _too_large(directory, f"{_ENTRIES_MAX} files")
        if fate is _Fate.TAKEN:
            paths.append(path)
        elif fate is _Fate.LEFT_OUT:
            is_folder = path.is_dir()
            left_out.append(path.relative_to(directory).as_posix() + ("/" if is_folder else ""))
    paths.sort()
    if not any(
        path.parent == directory and path.name.endswith((".tf", ".tf.json")) for path in paths
    ):
        raise InputError(
            "template_empty",
            f"{directory} contains no .tf file",
            hint="give the directory with the template's main.tf",
        )
    buffer = io.BytesIO()
    total = 0
    with tarfile.open(fileobj=buffer, mode="w:gz", format=tarfile.PAX_FORMAT) as archive:
        for path in paths:
            total += path.stat().st_size
            _check_size(directory, total, max_bytes)
            _add(archive, directory, path)
    _check_size(directory, buffer.tell(), max_bytes)
    return Packed(archive=buffer.getvalue(), left_out=tuple(sorted(left_out)))


def _walk(folder: Path, above: tuple[Path, ...]) -> Iterator[tuple[Path, _Fate]]:
    """Everything below `folder`, but nothing below what is left out.

    `above` is where `folder` and the directories that it is in really are, the template's first.
    """
    for path in sorted(folder.iterdir()):
        is_folder = path.is_dir()
        is_wanted = not _is_skipped_folder(path.name) if is_folder else is_packed(path.name)
        if is_wanted and path.is_symlink():
            _check_link(path, above)
        if is_wanted and is_folder:
            yield path, _Fate.ENTERED
            yield from _walk(path, (*above, path.resolve()))
        else:
            # Sockets and devices have no content to take.
            yield path, _Fate.TAKEN if is_wanted and path.is_file() else _Fate.LEFT_OUT


def _is_skipped_folder(name: str) -> bool:
    return name in _SKIPPED_DIRS or name.startswith(".")


def _check_link(path: Path, above: tuple[Path, ...]) -> None:
    try:
        target = path.resolve(strict=True)
    except (OSError, RuntimeError) as exc:
        raise InputError(
            "template_link_broken", f"{path} is a broken link", hint="remove or correct the link"
        ) from exc
    if not target.is_relative_to(above[0]):
        raise InputError(
            "template_link_outside",
            f"{path} points outside the template",
            hint="copy the target of the link into the directory",
        )
    if target in above:
        raise InputError(
            "template_link_broken",
            f"{path} links to a directory that contains it",
            hint="remove the link",
        )


def _add(archive: tarfile.TarFile, directory: Path, path: Path) -> None:
    info = tarfile.TarInfo(path.relative_to(directory).as_posix())
    try:
        data = path.read_bytes()
    except OSError as exc:
        raise InputError("template_unreadable", f"cannot read {path}: {exc.strerror}") from exc
    info.size = len(data)
    info.mode = 0o755 if path.stat().st_mode & 0o100 else 0o644
    archive.addfile(info, io.BytesIO(data))


def _check_size(directory: Path, size: int, max_bytes: int) -> None:
    if size > max_bytes:
        raise _too_large(directory, f"{max_bytes // 2**20} MiB")


def _too_large(directory: Path, limit: str) -> InputError:
    return InputError(
        "template_too_large",
        f"{directory} is over {limit}",
        hint="keep build results and binaries out of the template's directory",
    )
