"""A file that cannot be read, whoever tries."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def unreadable(path: Path) -> Iterator[None]:
    """Make a file unreadable for root too, whom its mode does not stop."""
    if os.geteuid() != 0:
        yield
        return
    # Write-only (proc_sys_vm(5)), also for root.
    done = subprocess.run(["mount", "--bind", "/proc/sys/vm/compact_memory", path], check=False)
    if done.returncode:
        pytest.skip("needs to mount a file")
    try:
        yield
    finally:
        subprocess.run(["umount", path], check=True)
