"""Finds the shims of runtimes, and asks Kata's for its version."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from typing import Final

import trio

# Where shims are beside PATH: Kata's release unpacks there, and its links may be missing.
SHIM_DIRECTORIES: Final = ("/opt/kata/runtime-rs/bin", "/opt/kata/bin", "/usr/local/bin")
_ASK_S: Final = 5.0
# "Kata Containers containerd shim (Rust): id: io.containerd.kata.v2, version: 4.1.0, commit: ..."
_VERSION: Final = re.compile(r"version:? v?([0-9]+\.[0-9]+\.[0-9]+[A-Za-z0-9.+~-]*)")


def find_shim(runtime: str) -> str:
    """Find the shim of a runtime as containerd does: io.containerd.X.vN is containerd-shim-X-vN."""
    if runtime.startswith("/"):
        return runtime if os.access(runtime, os.X_OK) else ""
    name = "-".join(("containerd-shim", *runtime.split(".")[-2:]))
    path = os.pathsep.join((os.environ.get("PATH", os.defpath), *SHIM_DIRECTORIES))
    return shutil.which(name, path=path) or ""


async def shim_version(shim: str) -> str:
    """Ask a shim of Kata for its version; "" where it says none."""
    said = b""
    with trio.move_on_after(_ASK_S):
        try:
            done = await trio.run_process(
                [shim, "--version"],
                stdin=subprocess.DEVNULL,
                capture_stdout=True,
                stderr=subprocess.STDOUT,
                check=False,
            )
        except OSError:
            return ""
        said = done.stdout or b""
    found = _VERSION.search(said[:4096].decode("utf-8", "replace"))
    return found[1] if found else ""
