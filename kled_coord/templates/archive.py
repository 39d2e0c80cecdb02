"""Check an uploaded template: a tar, plain or gzip, of Terraform sources. Bytes in, no disk."""

from __future__ import annotations

import io
import tarfile
import zlib
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final

from kled_wire.errors import InputError
from kled_wire.limits import TEMPLATE_MAX_BYTES

FILES_MAX: Final = 1000
PATH_MAX: Final = 200
# What a small upload may unpack to.
UNPACKED_MAX_BYTES: Final = 4 * TEMPLATE_MAX_BYTES
_GZIP: Final = b"\x1f\x8b"


@dataclass(frozen=True, slots=True, kw_only=True)
class Archive:
    """A checked archive: a plain tar, and the paths of its regular files."""

    tar: bytes
    files: tuple[str, ...]


def check_archive(upload: bytes) -> Archive:
    """Check an upload. Raises InputError("template_invalid") naming the file."""
    if len(upload) > TEMPLATE_MAX_BYTES:
        raise _invalid(f"the upload is over {TEMPLATE_MAX_BYTES // 2**20} MiB")
    tar = _gunzip(upload) if upload.startswith(_GZIP) else upload
    files: list[str] = []
    try:
        with tarfile.open(fileobj=io.BytesIO(tar), mode="r:") as archive:
            for member in archive:
                _check_member(member)
                if member.isreg():
                    files.append(str(PurePosixPath(member.name)))
                if len(files) > FILES_MAX:
                    raise _invalid(f"more than {FILES_MAX} files")
    except (tarfile.TarError, EOFError, ValueError, OverflowError) as error:
        raise _invalid(f"not a tar archive: {error}") from error
    if len(set(files)) != len(files):
        raise _invalid("a file is there twice")
    if not any(_is_source(name) for name in files):
        raise InputError(
            "template_invalid",
            "there is no .tf file at the top of the template",
            hint="push the directory that holds main.tf",
        )
    return Archive(tar=tar, files=tuple(files))


def _gunzip(upload: bytes) -> bytes:
    unpacker = zlib.decompressobj(wbits=31)
    try:
        tar = unpacker.decompress(upload, UNPACKED_MAX_BYTES)
    except zlib.error as error:
        raise _invalid(f"not gzip: {error}") from error
    if unpacker.unconsumed_tail:
        raise _invalid(f"it unpacks to more than {UNPACKED_MAX_BYTES // 2**20} MiB")
    return tar


def _check_member(member: tarfile.TarInfo) -> None:
    path = PurePosixPath(member.name)
    shown = member.name[:80]
    if len(member.name) > PATH_MAX or not member.name.isprintable():
        raise _invalid(f"{shown!r}: the name is too long, or not printable")
    if path.is_absolute() or ".." in path.parts or "\\" in member.name:
        raise _invalid(f"{shown!r} leads out of the template")
    if not (member.isreg() or member.isdir()):
        raise _invalid(f"{shown!r} is neither a file nor a directory")


def _is_source(name: str) -> bool:
    path = PurePosixPath(name)
    return len(path.parts) == 1 and (name.endswith((".tf", ".tf.json")))


def _invalid(what: str) -> InputError:
    return InputError("template_invalid", f"the template's archive: {what}")
