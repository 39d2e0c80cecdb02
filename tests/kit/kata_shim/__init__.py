"""A double of Kata's shim: `__main__.py` says what it is, `checks.py` what it refuses."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]
RUNTIME = "io.containerd.katadouble.v2"


def install_double(directory: Path, run: Path) -> None:
    """Make the program that containerd starts for RUNTIME; `run` stands for /run/kata."""
    program = directory / "containerd-shim-katadouble-v2"
    start = [sys.executable, "-S", "-m", __name__]
    program.write_text(
        f"#!/bin/sh\nKATA_SHIM_RUN={shlex.quote(str(run))} PYTHONPATH={shlex.quote(str(ROOT))}\n"
        f'export KATA_SHIM_RUN PYTHONPATH\nexec {shlex.join(start)} "$@"\n'
    )
    program.chmod(0o755)
