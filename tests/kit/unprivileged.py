"""Gives up, in one thread, what root may do against permissions: as a user of that owner's may."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from kled_sync.endpoint.holding import HeldRoot

# capabilities(7), capget(2): _LINUX_CAPABILITY_VERSION_3, of the calling thread.
_VERSION: Final = 0x20080522
_OVERRIDES: Final = 1 << 1 | 1 << 2  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
_libc: Final = ctypes.CDLL(None, use_errno=True)


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Sets(ctypes.Structure):
    _fields_ = (
        ("effective", ctypes.c_uint32),
        ("permitted", ctypes.c_uint32),
        ("inheritable", ctypes.c_uint32),
    )


def _set_effective(*, overrides: bool) -> None:
    if sys.platform != "linux" or os.geteuid():
        return
    header, sets = _Header(_VERSION, 0), (_Sets * 2)()
    _check(_libc.capget(ctypes.byref(header), sets))
    own = sets[0].effective & ~_OVERRIDES
    sets[0].effective = own | (sets[0].permitted & _OVERRIDES if overrides else 0)
    _check(_libc.capset(ctypes.byref(header), sets))


def _check(result: int) -> None:
    if result:
        raise OSError(ctypes.get_errno(), "capset")


@contextmanager
def bound_by_permissions() -> Iterator[None]:
    """In this thread permissions count, for root too."""
    _set_effective(overrides=False)
    try:
        yield
    finally:
        _set_effective(overrides=True)


class OrdinaryRoot(HeldRoot):
    """A root held by a thread for which permissions count until it lets go of it."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        _set_effective(overrides=False)
        super().__init__(*args, **kwargs)

    def close(self) -> None:
        super().close()
        _set_effective(overrides=True)
