"""Imports asyncssh without what Kled does not use of it, a third of the time that it takes.

- X.509 certificates, for which it imports all that the cryptography library has of them. They are
  optional there.
- gcc and ld: at its import it looks for liboqs by `ctypes.util.find_library`, which asks ldconfig,
  and where the answer is no, these two.
"""

from __future__ import annotations

import ctypes.util
import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from kled_wire.hiding import hidden

_UNUSED: Final = "asyncssh.crypto.x509"
_LINKER_CACHE: Final = Path("/etc/ld.so.cache")
_COMPILERS: Final = ("_findLib_gcc", "_findLib_ld")


def load_with_asyncssh(module: str) -> ModuleType:
    """Import a module that imports asyncssh. Blocks; raises ImportError."""
    with hidden(_UNUSED), _changed(vars(ctypes.util), _compilers()):
        return import_module(module)


def _compilers() -> dict[str, Any]:
    """What asks gcc and ld, with what finds nothing, where ldconfig knows all that dlopen(3) finds.

    It does not with LD_LIBRARY_PATH, with another C library than glibc, and on macOS. A bundle's
    find_library runs no program at all.
    """
    is_known = _LINKER_CACHE.exists() and "LD_LIBRARY_PATH" not in os.environ
    return {name: _find_nothing for name in _COMPILERS if is_known and hasattr(ctypes.util, name)}


def _find_nothing(_name: str) -> None:
    """What a compiler that is not installed finds."""


@contextmanager
def _changed(names: dict[str, Any], changes: dict[str, Any]) -> Iterator[None]:
    """`names` with `changes` of what is in it, which are undone at the end of the block."""
    before = {name: names[name] for name in changes}
    names.update(changes)
    try:
        yield
    finally:
        names.update(before)
