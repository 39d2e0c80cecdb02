"""Gets an image from where a template says: a registry, or what an owner's place has."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryFile
from typing import BinaryIO

import trio

from kled_provider.containerd.caller import ContainerdError
from kled_provider.host import HostError
from kled_provider.kata.image.archive import open_archive
from kled_provider.kata.image.manifest import ImageFormatError, Platform, PlatformMissingError
from kled_provider.kata.image.reference import ImageReference
from kled_provider.kata.image.registry import (
    RegistryError,
    RegistryLogin,
    RegistryReach,
    open_registry,
)
from kled_provider.kata.image.root_directory import pack_directory
from kled_provider.kata.image.storing import ImageTaker, TakenImage
from kled_provider.kata.owner.file import OwnerFile, Use
from kled_provider.kata.paths.beneath import Opened, PathKind, PathRefusedError, opened_beneath
from kled_provider.plugin.diagnostics import DiagnosticError
from kled_provider.plugin.diagnostics import Path as AttributePath
from kled_provider.plugin.values import Values


async def pull_image(
    taker: ImageTaker,
    owner: OwnerFile,
    reference: ImageReference,
    platform: Platform,
    config: Values,
) -> TakenImage:
    """Pull from the reference's registry, as whom `config` says."""
    registry = owner.registries.get(reference.host)
    reach = RegistryReach()
    if registry is not None:
        reach = RegistryReach(is_plain_http=registry.plain_http, ca_file=registry.ca_file)
    login = _login(owner, reference, config)
    async with open_registry(reference, login, reach) as source:
        root = await source.resolve()
        return await taker.take(reference, root, source, platform, is_for_all=not login.username)


def _login(owner: OwnerFile, reference: ImageReference, config: Values) -> RegistryLogin:
    if config["username"] is not None:
        return RegistryLogin(username=config["username"], password=config["password_wo"] or "")
    name = config["credentials"]
    if name is None:
        return RegistryLogin()
    if name not in owner.credentials:
        names = ", ".join(sorted(owner.credentials)) or "none"
        raise DiagnosticError.of(
            "There is no such account",
            f"The owner's file has {names}; got {name!r}.",
            path=("credentials",),
        )
    found = owner.credentials[name]
    if found.registry != reference.host:
        raise DiagnosticError.of(
            "The account is of another registry",
            f"{name!r} is of {found.registry}; the image is at {reference.host}.",
            path=("credentials",),
        )
    try:
        password = Path(found.password_file).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise DiagnosticError.of(
            "The password of the account cannot be read", f"{error}.", path=("credentials",)
        ) from error
    return RegistryLogin(username=found.username, password=password)


async def import_image(
    taker: ImageTaker,
    owner: OwnerFile,
    path: str,
    reference: ImageReference,
    platform: Platform,
) -> TakenImage:
    """Import an archive, or a directory as one, beneath a place for imports."""
    roots = [place.path for place in owner.places_for(Use.IMPORT).values()]
    try:
        with opened_beneath(path, roots, PathKind.FILE, PathKind.DIRECTORY) as opened:
            file = await trio.to_thread.run_sync(_opened_archive, opened, owner)
    except PathRefusedError as error:
        text = f"{error.message}. {error.hint}".strip()
        raise DiagnosticError.of("The archive cannot be used", text, path=("archive",)) from error
    with file:
        most = owner.images.unpacked_bytes
        archive = await trio.to_thread.run_sync(open_archive, file, most)
        assert archive.root is not None
        return await taker.take(reference, archive.root, archive, platform, is_for_all=True)


def _opened_archive(opened: Opened, owner: OwnerFile) -> BinaryIO:
    """Open an archive, or pack a directory into a file without a name; blocks."""
    if opened.kind is PathKind.FILE:
        return os.fdopen(opened.reopen(), "rb")
    Path(owner.state_directory).mkdir(mode=0o700, parents=True, exist_ok=True)
    with ExitStack() as made:
        # Not in memory: it may be large.
        packed: BinaryIO = made.enter_context(TemporaryFile(dir=owner.state_directory))
        directory = opened.reopen()
        try:
            most, still_wanted = owner.images.unpacked_bytes, trio.from_thread.check_cancelled
            pack_directory(directory, packed, most, still_wanted)
        finally:
            os.close(directory)
        packed.flush()
        made.pop_all()  # the caller closes it
    return packed


@contextmanager
def explained(name: str, path: AttributePath, config: Values | None = None) -> Iterator[None]:
    """Turn what goes wrong with an image into a diagnostic on its attribute.

    `path` is of what says where it is; an account that a registry refuses is one of `config`'s.
    """
    account = next((n for n in ("credentials", "username") if (config or {}).get(n)), None)
    try:
        yield
    except PlatformMissingError as error:
        raise DiagnosticError.of(
            "The image is for other machines", f"{name}: {error}.", path=("platform",)
        ) from error
    except ImageFormatError as error:
        raise DiagnosticError.of(
            "The image cannot be used", f"{name}: {error}.", path=path
        ) from error
    except RegistryError as error:
        raise DiagnosticError.of(
            "The image cannot be pulled",
            " ".join(part for part in (f"{error.message}.", error.hint) if part),
            path=(account,) if error.status in (401, 403) and account else path,
        ) from error
    except OSError as error:
        raise DiagnosticError.of("The image cannot be kept", f"{error}.", path=path) from error
    except HostError as error:
        text = error.message
        if isinstance(error, ContainerdError) and error.is_full:
            text = f"The disk of containerd is full: {text}"
        raise DiagnosticError.of("containerd refused the image", text, path=path) from error
