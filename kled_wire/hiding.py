"""Hides optional modules from a library while it is imported: it does without them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def hidden(*modules: str) -> Iterator[None]:
    """Let an import of `modules` raise ModuleNotFoundError, but of those imported already."""
    names = [name for name in modules if name not in sys.modules]
    # With None an import raises it (the Python reference, 5.3.1).
    sys.modules.update(dict.fromkeys(names))  # type: ignore[arg-type]
    try:
        yield
    finally:
        for name in names:
            del sys.modules[name]
