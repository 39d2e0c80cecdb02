"""A double of Kata's shim: `__main__.py` says what it is, `checks.py` what it refuses."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]
RUNTIME = "io.containerd.katadouble.v2"
# A configuration that it takes: Kata's parser wants every file that one names to be there.
CONFIGURATION = """
[hypervisor.clh]
path = "/bin/true"
kernel = "/bin/true"
image = "/bin/true"
shared_fs = "virtio-fs"
virtio_fs_daemon = "/bin/true"
enable_annotations = ["kernel_params"]
[agent.kata]
[runtime]
name = "virt_container"
hypervisor_name = "clh"
agent_name = "kata"
static_sandbox_resource_mgmt = true
"""


def install_double(directory: Path, run: Path) -> None:
    """Make the program that containerd starts for RUNTIME; `run` stands for /run/kata."""
    program = directory / "containerd-shim-katadouble-v2"
    start = [sys.executable, "-S", "-m", __name__]
    program.write_text(
        f"#!/bin/sh\nKATA_SHIM_RUN={shlex.quote(str(run))} PYTHONPATH={shlex.quote(str(ROOT))}\n"
        f'export KATA_SHIM_RUN PYTHONPATH\nexec {shlex.join(start)} "$@"\n'
    )
    program.chmod(0o755)
