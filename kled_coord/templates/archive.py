"""Checks an uploaded template, a tar of Terraform sources, plain or gzip, without disk access.

A new tar is stored, with only the names, contents and executable bits of the files, so that a later
reader gets no other data of the upload. `tarfile` is not safe for untrusted input: nested headers
recurse, and numbers of a pax header cost the square of their length (CVE-2024-6232). So the check
runs in a process of its own (`opening.py`), with limits.
"""

from __future__ import annotations

import io
import tarfile
import zlib
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import IO, Final

from kled_coord.exponents import EXPONENT_DIGITS_MAX
from kled_coord.store.template_records import Variable
from kled_coord.templates.declarations import list_backends, list_variables
from kled_coord.terraform.source.blocks import SUFFIXES, huge_number, is_source
from kled_coord.terraform.source.variables import is_values
from kled_wire.errors import InputError
from kled_wire.limits import TEMPLATE_MAX_BYTES

FILES_MAX: Final = 1000
PATH_MAX: Final = 200
README: Final = "README.md"
# More is cut off.
README_MAX_BYTES: Final = 64 * 1024
# What a small upload may unpack to.
UNPACKED_MAX_BYTES: Final = 4 * TEMPLATE_MAX_BYTES
# Directories are members too.
_MEMBERS_MAX: Final = 2 * FILES_MAX
_GZIP: Final = b"\x1f\x8b"


@dataclass(frozen=True, slots=True, kw_only=True)
class Archive:
    """A checked archive: a plain tar, the paths of its regular files, and what they declare."""

    tar: bytes = field(repr=False)
    files: tuple[str, ...]
    variables: tuple[Variable, ...] = ()
    backends: tuple[str, ...] = ()
    readme: str = ""


def check_archive(upload: bytes) -> Archive:
    """Check an upload. Raises InputError("template_invalid") naming the file."""
    if len(upload) > TEMPLATE_MAX_BYTES:
        raise invalid(f"the upload is over {TEMPLATE_MAX_BYTES // 2**20} MiB")
    source = _gunzip(upload) if upload.startswith(_GZIP) else upload
    kept = io.BytesIO()
    try:
        with (
            tarfile.open(fileobj=io.BytesIO(source), mode="r:") as archive,
            tarfile.open(fileobj=kept, mode="w", format=tarfile.GNU_FORMAT) as copy,
        ):
            files, sources = _copy(archive, copy)
    except (tarfile.TarError, EOFError, ValueError, OverflowError, RecursionError) as error:
        raise invalid(f"not a tar archive: {error}") from error
    if len(set(files)) != len(files):
        raise invalid("a file is there twice")
    if not any(is_source(name) for name in sources):
        raise InputError(
            "template_invalid",
            "the template has no .tf file in its top directory",
            hint="push the directory that holds main.tf",
        )
    return Archive(
        tar=kept.getvalue(),
        files=tuple(files),
        variables=list_variables(sources),
        backends=list_backends(sources),
        readme=sources.get(README, b"")[:README_MAX_BYTES].decode("utf-8", "replace"),
    )


def invalid(what: str) -> InputError:
    """The error of an archive that is not taken."""
    return InputError("template_invalid", f"the template's archive: {what}")


def _gunzip(upload: bytes) -> bytes:
    unpacker = zlib.decompressobj(wbits=31)
    try:
        tar = unpacker.decompress(upload, UNPACKED_MAX_BYTES)
    except zlib.error as error:
        raise invalid(f"not gzip: {error}") from error
    if unpacker.unconsumed_tail:
        raise invalid(f"it unpacks to more than {UNPACKED_MAX_BYTES // 2**20} MiB")
    return tar


def _copy(archive: tarfile.TarFile, copy: tarfile.TarFile) -> tuple[list[str], dict[str, bytes]]:
    """Copy what a template may have; the paths of the files, and those that declare something."""
    files: list[str] = []
    sources: dict[str, bytes] = {}
    total_bytes = 0
    for number, member in enumerate(archive, start=1):
        _check_member(member)
        total_bytes += member.size
        if total_bytes > UNPACKED_MAX_BYTES:
            raise invalid(f"it unpacks to more than {UNPACKED_MAX_BYTES // 2**20} MiB")
        plain = tarfile.TarInfo(str(PurePosixPath(member.name)))
        plain.mode = 0o755 if member.isdir() or member.mode & 0o100 else 0o644
        if member.isdir():
            plain.type = tarfile.DIRTYPE
            copy.addfile(plain)
        else:
            plain.size = member.size
            content = archive.extractfile(member)
            assert content is not None  # it is a file
            copy.addfile(plain, content)
            files.append(plain.name)
            if _is_looked_at(plain.name):
                sources[plain.name] = _reread(content)
            if plain.name.endswith((*SUFFIXES, ".tfvars", ".tfvars.json")):
                _check_numbers(plain.name, _reread(content))
        if len(files) > FILES_MAX or number > _MEMBERS_MAX:
            raise invalid(f"more than {FILES_MAX} files")
    return files, sources


def _reread(content: IO[bytes]) -> bytes:
    content.seek(0)
    return content.read()


def _check_numbers(name: str, content: bytes) -> None:
    if found := huge_number(name, content):
        line, number = found
        raise InputError(
            "template_invalid",
            f"{name}:{line}: the number {number[:40]} is out of range: its exponent may have "
            f"{EXPONENT_DIGITS_MAX} digits",
        )


def _is_looked_at(name: str) -> bool:
    return "/" not in name and (is_source(name) or is_values(name) or name == README)


def _check_member(member: tarfile.TarInfo) -> None:
    path = PurePosixPath(member.name)
    shown = member.name[:80]
    if len(member.name) > PATH_MAX or not member.name.isprintable():
        raise invalid(f"{shown!r}: the name is too long, or not printable")
    if path.is_absolute() or ".." in path.parts or "\\" in member.name:
        raise invalid(f"{shown!r} leads out of the template")
    if not (member.isreg() or member.isdir()) or member.issparse():
        raise invalid(f"{shown!r} is neither a file nor a directory")
