"""A folder whose names behave as on another system: case folded, or in Unicode's form D.

No such filesystem can be mounted here. System calls by a descriptor of a directory in that folder
get the name that is there, where that system could not tell it from the one asked for, and make new
names as that system does. It is one for the endpoint alone: a test sees what is really there.
"""

from __future__ import annotations

import errno
import os
import unicodedata
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final

import pytest

from kled_sync.decide.folding import NameRules
from kled_sync.endpoint.holding import HeldRoot
from kled_sync.endpoint.serving import Hold
from kled_sync.files import system

_CALLS: Final = (
    "open", "stat", "readlink", "unlink", "rmdir", "mkdir", "utime", "chmod", "chown",
)  # fmt: skip


class OtherNames:
    """The names of one folder, for as long as a test runs."""

    def __init__(
        self,
        root: Path,
        rules: NameRules,
        monkeypatch: pytest.MonkeyPatch,
        *,
        is_text: bool = False,
    ) -> None:
        """`is_text`: a name must be UTF-8."""
        self._root, self._rules, self._is_text = os.fsencode(root.resolve()), rules, is_text
        self._readlink, self._listdir = os.readlink, os.listdir
        for name in _CALLS:
            monkeypatch.setattr(os, name, self._with_name(getattr(os, name)))
        for name in ("rename", "link"):
            monkeypatch.setattr(os, name, self._with_two_names(getattr(os, name)))
        monkeypatch.setattr(os, "symlink", self._symlink(os.symlink))
        monkeypatch.setattr(system, "_call_rename", self._renaming(system._call_rename))

    def hold(self) -> Hold:
        """What opens the root of that side."""
        return partial(HeldRoot, probe=lambda _: self._rules)

    def _real(self, directory: int | None, name: Any) -> Any:
        """The name of what is there, or as it is made."""
        if directory is None:
            return name
        where = os.fsencode(self._readlink(f"/proc/self/fd/{directory}"))
        if where != self._root and not where.startswith(self._root + b"/"):
            return name
        wanted = os.fsencode(name)
        if self._is_text:
            try:
                wanted.decode()
            except UnicodeDecodeError:
                raise OSError(errno.EILSEQ, os.strerror(errno.EILSEQ), name) from None
        for found in map(os.fsencode, self._listdir(directory)):
            if self._rules.key(found) == self._rules.key(wanted):
                return found
        if self._rules.decomposes:
            return unicodedata.normalize("NFD", os.fsdecode(wanted)).encode()
        return wanted

    def _with_name(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def do(name: Any, *args: Any, dir_fd: int | None = None, **kwargs: Any) -> Any:
            if dir_fd is None:
                return call(name, *args, **kwargs)
            return call(self._real(dir_fd, name), *args, dir_fd=dir_fd, **kwargs)

        return do

    def _with_two_names(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def do(
            source: Any,
            target: Any,
            *,
            src_dir_fd: int | None = None,
            dst_dir_fd: int | None = None,
            **kwargs: Any,
        ) -> Any:
            old, new = self._real(src_dir_fd, source), self._real(dst_dir_fd, target)
            new = target if new == old else new  # the case of a name is changed
            return call(old, new, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd, **kwargs)

        return do

    def _symlink(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def do(target: Any, name: Any, *args: Any, dir_fd: int | None = None, **kwargs: Any) -> Any:
            return call(target, self._real(dir_fd, name), *args, dir_fd=dir_fd, **kwargs)

        return do

    def _renaming(self, call: Callable[..., None]) -> Callable[..., None]:
        def do(from_fd: int, from_name: bytes, to_fd: int, to_name: bytes, flags: int) -> None:
            call(from_fd, self._real(from_fd, from_name), to_fd, self._real(to_fd, to_name), flags)

        return do
