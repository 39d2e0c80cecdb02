"""Copy files and trees between this machine and a workspace, over sftp.

A file is written beside its name and renamed when it is whole, so that nobody meets half of one.
Links come last: whatever a workspace lists, nothing is written through a link that came from it.
"""

from __future__ import annotations

import os
import posixpath
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

import asyncssh
import trio

from kled_client.copy.sides import FileKind, Found, Here, Side, There
from kled_client.ssh.connection import aio
from kled_wire.errors import InputError, KledError, NotFoundError, UnavailableError
from kled_wire.limits import CLEANUP_S

# Files that are under way together: small ones are nothing but round trips.
_AT_ONCE: Final = 8
_LOST: Final = (asyncssh.SFTPConnectionLost, asyncssh.SFTPNoConnection, asyncssh.ConnectionLost)
Trouble = (OSError, asyncssh.SFTPError, asyncssh.ConnectionLost)


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyItem:
    """One thing to copy."""

    source: bytes
    target: bytes
    found: Found


@dataclass(slots=True, kw_only=True)
class Tally:
    """What is to be copied, and what has been; sizes in bytes."""

    total: int = 0
    done: int = 0
    files: int = 0
    directories: int = 0
    links: int = 0
    failed: int = 0


@dataclass(kw_only=True)
class Copier:
    """One copy. `show` is told after each block; `report` of each path that did not work."""

    sftp: asyncssh.SFTPClient
    workspace: str
    upload: bool
    recurse: bool
    show: Callable[[Tally, bytes], None]
    report: Callable[[KledError], None]
    tally: Tally = field(default_factory=Tally)

    def __post_init__(self) -> None:
        here, there = Here(), There(self.sftp)
        self._source: Side = here if self.upload else there
        self._target: Side = there if self.upload else here

    async def run(self, sources: Iterable[bytes], target: bytes) -> None:
        """Copy `sources` to `target`. Raises KledError where nothing of it can be copied."""
        entries = [entry async for entry in self._survey(await self._roots(sources, target))]
        kinds = {kind: [e for e in entries if e.found.kind is kind] for kind in FileKind}
        self.tally.total = sum(entry.found.size for entry in kinds[FileKind.FILE])
        for entry in kinds[FileKind.OTHER]:
            what = f"{self._named(entry.source, self._source)} is no file, directory or link"
            self._fail(KledError("copy_failed", what))
        lost: set[bytes] = set()
        for entry in kinds[FileKind.DIRECTORY]:
            if not _is_below(entry.target, lost) and not await self._try(self._make_dir, entry):
                lost.add(entry.target)
        await self._each(self._copy_file, kinds[FileKind.FILE], lost)
        await self._each(self._copy_link, kinds[FileKind.LINK], lost)
        # Deepest first: what is made in a directory changes its time.
        for entry in reversed(kinds[FileKind.DIRECTORY]):
            if entry.target not in lost and not _is_below(entry.target, lost):
                await self._try(self._dress, entry)

    async def _roots(self, sources: Iterable[bytes], target: bytes) -> list[CopyItem]:
        """Where each source goes. Raises KledError."""
        found = [(path, await self._look_at_source(path)) for path in sources]
        there = await self._look(self._target, target, follow=True)
        into = there is not None and there.kind is FileKind.DIRECTORY
        if not into and (len(found) > 1 or (target.endswith(b"/") and _is_plain(found))):
            named = self._named(target, self._target)
            raise NotFoundError("file_not_found", f"{named} is not a directory")
        roots = []
        for path, what in found:
            name = posixpath.basename(path.rstrip(b"/"))
            # `.` and `/` have no name of their own: what is in them goes into the target.
            final = posixpath.join(target, name) if into and name.strip(b".") else target
            roots.append(CopyItem(source=path, target=final.rstrip(b"/") or b"/", found=what))
        return roots

    async def _look_at_source(self, path: bytes) -> Found:
        follow = not self.recurse or path.endswith(b"/")
        found = await self._look(self._source, path, follow=follow)
        named = self._named(path, self._source)
        if found is None:
            raise NotFoundError("file_not_found", f"{named}: no such file or directory")
        if found.kind is FileKind.DIRECTORY and not self.recurse:
            raise InputError(
                "is_a_directory",
                f"{named} is a directory",
                hint="kled cp -r copies directories",
            )
        return found

    async def _survey(self, roots: list[CopyItem]) -> Any:
        """Yield the entries and what is below them, a directory before what is in it."""
        waiting = roots[::-1]
        while waiting:
            entry = waiting.pop()
            yield entry
            if entry.found.kind is not FileKind.DIRECTORY:
                continue
            try:
                names = await self._source.names(entry.source)
            except Trouble as exc:
                self._fail(self._explain(exc, entry.source, entry.target))
                continue
            waiting += [
                CopyItem(
                    source=posixpath.join(entry.source, name),
                    target=posixpath.join(entry.target, name),
                    found=found,
                )
                for name, found in sorted(names, reverse=True)
            ]

    async def _each(
        self, copy: Callable[[CopyItem], Awaitable[None]], entries: list[CopyItem], lost: set[bytes]
    ) -> None:
        left: Iterator[CopyItem] = iter([e for e in entries if not _is_below(e.target, lost)])

        async def work() -> None:
            for entry in left:
                await self._try(copy, entry)

        async with trio.open_nursery() as nursery:
            for _ in range(_AT_ONCE):
                nursery.start_soon(work)

    async def _try(self, copy: Callable[[CopyItem], Awaitable[None]], entry: CopyItem) -> bool:
        """Whether it worked; what is in the way of one path is reported. Raises what ends all."""
        try:
            await copy(entry)
        except Trouble as exc:
            self._fail(self._explain(exc, entry.source, entry.target))
            return False
        except KledError as exc:
            self._fail(exc)
            return False
        return True

    def _fail(self, error: KledError) -> None:
        self.tally.failed += 1
        self.report(error)

    async def _look(self, side: Side, path: bytes, *, follow: bool) -> Found | None:
        try:
            return await side.look(path, follow=follow)
        except Trouble as exc:
            raise self._explain(exc, path, path) from exc

    def _explain(self, exc: Exception, source: bytes, target: bytes) -> KledError:
        """What went wrong, and with which path. Raises UnavailableError at a lost connection."""
        reason = getattr(exc, "strerror", None) or getattr(exc, "reason", None) or str(exc)
        if isinstance(exc, _LOST):
            raise UnavailableError(
                "connection_lost", f"the connection to {self.workspace} ended", hint="copy again"
            ) from exc
        # Errors of sftp are the workspace's, those of the system this machine's.
        at_source = isinstance(exc, asyncssh.SFTPError) is not self.upload
        path, side = (source, self._source) if at_source else (target, self._target)
        text = f"{self._named(path, side)}: {reason}"
        if isinstance(exc, asyncssh.SFTPNoSuchFile | FileNotFoundError):
            return NotFoundError("file_not_found", text)
        return KledError("copy_failed", text)

    def _named(self, path: bytes, side: Side) -> str:
        """A path for people; bytes that are no text are escaped."""
        text = path.decode("utf-8", "backslashreplace")
        return f"{self.workspace}:{text}" if isinstance(side, There) else text

    async def _make_dir(self, entry: CopyItem) -> None:
        found = await self._target.look(entry.target, follow=True)
        if found is None or found.kind is not FileKind.DIRECTORY:
            await self._target.make_dir(entry.target)
        self.tally.directories += 1

    async def _dress(self, entry: CopyItem) -> None:
        await self._target.dress(entry.target, entry.found)

    async def _copy_file(self, entry: CopyItem) -> None:
        final = await self._file_to_replace(entry.target)
        if final is None:
            await self._move(entry, entry.target)
        else:
            aside = _beside(final)
            await self._then_rename(partial(self._move, entry, aside), aside, final)
        self.tally.files += 1

    async def _file_to_replace(self, target: bytes) -> bytes | None:
        """The path of the file, behind a link that names it; None for a device or the like."""
        found = await self._target.look(target, follow=False)
        if found is not None and found.kind is FileKind.LINK:
            target = await self._target.real(target)
            found = await self._target.look(target, follow=False)
        if found is not None and found.kind is FileKind.DIRECTORY:
            named = self._named(target, self._target)
            raise InputError("is_a_directory", f"{named} is a directory")
        return target if found is None or found.kind is FileKind.FILE else None

    async def _move(self, entry: CopyItem, path: bytes) -> None:
        """Write the bytes, mode and times of a file to `path`."""
        before = 0

        def progress(_source: bytes, _target: bytes, done: int, _total: int) -> None:
            nonlocal before
            self.tally.done += done - before
            before = done
            self.show(self.tally, entry.source)

        move = self.sftp.put if self.upload else self.sftp.get
        try:
            await aio(
                move,
                entry.source,
                path,
                preserve=True,
                follow_symlinks=True,
                progress_handler=progress,
            )
        except BaseException:
            self.tally.done -= before
            raise

    async def _copy_link(self, entry: CopyItem) -> None:
        aside = _beside(entry.target)
        leads_to = await self._source.read_link(entry.source)
        make = partial(self._target.make_link, leads_to, aside)
        await self._then_rename(make, aside, entry.target)
        self.tally.links += 1

    async def _then_rename(
        self, write: Callable[[], Awaitable[None]], aside: bytes, final: bytes
    ) -> None:
        """`write` to `aside` and rename; whatever goes wrong, `aside` does not stay."""
        try:
            await write()
            await self._target.replace(aside, final)
        except BaseException as exc:
            if not isinstance(exc, _LOST):
                with trio.move_on_after(CLEANUP_S, shield=True), suppress(*Trouble):
                    await self._target.remove(aside)
            raise


def _is_plain(found: list[tuple[bytes, Found]]) -> bool:
    return any(what.kind is not FileKind.DIRECTORY for _, what in found)


def _is_below(path: bytes, directories: set[bytes]) -> bool:
    return any(path.startswith(directory + b"/") for directory in directories)


def _beside(path: bytes) -> bytes:
    """A name in the same directory that nobody has; short, as names have at most 255 bytes."""
    name = b".kled-cp-" + os.urandom(8).hex().encode()
    return posixpath.join(posixpath.dirname(path), name)
