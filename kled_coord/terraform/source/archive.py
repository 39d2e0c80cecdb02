"""Unpacks a template, an untrusted tar, into a directory of our own.

Only files and directories. Links are refused altogether: a template needs none, and chains of
links are how archives got out of `tarfile`'s own filter (CVE-2025-4517, CVE-2025-4330). So files
are written here, and of their metadata only whether they are executable is kept.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import shutil
import tarfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from kled_coord.terraform.output.errors import RunDirectoryError, TemplateInvalidError

# The author's state is none of ours, and Terraform would ask whether to move it.
LEFT_OUT = ("terraform.tfstate", "terraform.tfstate.backup", "errored.tfstate")
_SOURCES = (".tf", ".tf.json")
OVERHEAD_BYTES = 4 << 10  # per file: headers, extended headers, padding
_HINT = "make the archive with `kled template push`"

# What a file that is cut off or no tar raises, compressed or not; they share no base.
_DAMAGE = (tarfile.TarError, EOFError, OSError, ValueError, zlib.error, lzma.LZMAError)


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveLimits:
    """What one template may unpack to; far more than people write, far less than a disk."""

    members: int = 2_000
    total_bytes: int = 64 << 20
    path_characters: int = 512


def unpack_template(archive: bytes, directory: Path, limits: ArchiveLimits | None = None) -> None:
    """Unpack a tar, compressed or not, into the empty `directory`. Blocks.

    What Terraform left in the author's folder (.terraform, state files) stays out.
    Raises TemplateInvalidError, RunDirectoryError; something may have been unpacked by then.
    """
    limits = limits or ArchiveLimits()
    try:
        source = _Bounded(_decompressed(archive), limits)
        with tarfile.open(fileobj=source, mode="r|") as tar:
            _extract(tar, directory, limits)
    except _DAMAGE as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise RunDirectoryError(error) from error  # a decompressor's has no number
        raise TemplateInvalidError(
            f"the template archive is damaged: {error}", hint=_HINT
        ) from error


def uses_init_script(archive: bytes) -> bool:
    """Whether a template's own files, in a tar, name an agent's `init_script`. Blocks.

    Only to decide whether something is worth a warning: a comment counts too.
    """
    files = read_files(archive, lambda name: name.endswith(_SOURCES))
    return any(b"init_script" in content for content in files.values())


def read_files(archive: bytes, is_wanted: Callable[[str], bool]) -> dict[str, bytes]:
    """The files of a template, a tar of our own, by path. Blocks. Raises tarfile.TarError."""
    with tarfile.open(fileobj=io.BytesIO(archive), mode="r:") as tar:
        wanted = ((each.name, tar.extractfile(each)) for each in tar if is_wanted(each.name))
        return {name: file.read() for name, file in wanted if file is not None}


def _decompressed(archive: bytes) -> io.BufferedIOBase:
    source = io.BytesIO(archive)
    if archive.startswith(b"\x1f\x8b"):
        return gzip.GzipFile(fileobj=source)
    if archive.startswith(b"BZh"):
        return bz2.BZ2File(source)
    if archive.startswith(b"\xfd7zXZ\x00"):
        return lzma.LZMAFile(source)
    return source


class _Bounded(io.RawIOBase):
    """A source that refuses to give more than a template may have.

    `tarfile` reads an extended header whole, before anybody can look at its size.
    """

    def __init__(self, source: io.BufferedIOBase, limits: ArchiveLimits) -> None:
        self._source = source
        self._limit_bytes = limits.total_bytes
        self._left_bytes = limits.total_bytes + limits.members * OVERHEAD_BYTES

    def read(self, size: int = -1) -> bytes:
        data = self._source.read(size)
        self._left_bytes -= len(data)
        if self._left_bytes < 0:
            raise _too_large(self._limit_bytes)
        return data


def _too_large(limit_bytes: int) -> TemplateInvalidError:
    return TemplateInvalidError(f"the template unpacks to more than {limit_bytes >> 20} MiB")


def _extract(tar: tarfile.TarFile, directory: Path, limits: ArchiveLimits) -> None:
    total_bytes = 0
    for number, member in enumerate(tar, start=1):
        # Checked before the member is read, so that a bomb stays small.
        total_bytes += member.size
        if number > limits.members:
            raise TemplateInvalidError(f"the template has more than {limits.members} files")
        if total_bytes > limits.total_bytes:
            raise _too_large(limits.total_bytes)
        if _is_terraforms_own(member.name):
            continue
        _check_member(member, limits)
        _write_member(tar, member, directory)


def _is_terraforms_own(name: str) -> bool:
    """Whether Terraform itself made it, in the author's folder: it would disturb our own run."""
    parts = name.removeprefix("./").split("/")
    return ".terraform" in parts or parts[-1] in LEFT_OUT


def _write_member(tar: tarfile.TarFile, member: tarfile.TarInfo, directory: Path) -> None:
    target = directory / member.name
    if member.isdir():
        target.mkdir(parents=True, exist_ok=True)
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    source = tar.extractfile(member)
    assert source is not None  # it is a file
    with source, target.open("wb") as file:
        shutil.copyfileobj(source, file)
    target.chmod(0o755 if member.mode & 0o100 else 0o644)


def _check_member(member: tarfile.TarInfo, limits: ArchiveLimits) -> None:
    shown = repr(member.name[:80])
    if not (member.isfile() or member.isdir()):
        raise TemplateInvalidError(
            f"template archive: {shown} is a link or a device",
            hint="a template may hold files and directories only",
        )
    parts = member.name.split("/")
    if member.name.startswith("/") or ".." in parts:
        raise TemplateInvalidError(f"template archive: {shown} is outside the template", hint=_HINT)
    if len(member.name) > limits.path_characters:
        raise TemplateInvalidError(f"template archive: the path {shown}… is too long", hint=_HINT)
