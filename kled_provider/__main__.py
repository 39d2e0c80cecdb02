"""`terraform-provider-kled`: Terraform starts it if no coordinator serves the provider."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Awaitable, Callable
from functools import partial
from importlib.metadata import PackageNotFoundError, version

import trio

from kled_provider.handshake import is_started_by_terraform
from kled_provider.kled.provider import kled_provider
from kled_provider.standalone import run_standalone

USAGE = """\
usage: terraform-provider-kled [--help | --version]

The Terraform provider of Kled. Terraform starts it; docs/provider.md says how to install it for
Terraform run by hand. It then takes the workspace from KLED_WORKSPACE_NAME, KLED_TRANSITION,
KLED_COORDINATOR_URL, KLED_AGENT_ID and KLED_AGENT_TOKEN.
"""


def main() -> int:
    """Run the program; returns its exit code."""
    run = partial(run_standalone, dict(os.environ), say, kled_provider())
    return run_program("terraform-provider-kled", USAGE, run)


def run_program(name: str, usage: str, run: Callable[[], Awaitable[None]]) -> int:
    """Answer --help and --version, else `run` for Terraform; returns the exit code."""
    arguments = sys.argv[1:]
    if arguments in (["--help"], ["-h"]):
        sys.stdout.write(usage)
        return 0
    if arguments == ["--version"]:
        sys.stdout.write(f"{name} {_program_version()}\n")
        return 0
    if arguments or not is_started_by_terraform(os.environ):
        sys.stderr.write(f"{name} is a Terraform provider: Terraform starts it, see --help\n")
        return 1
    # Ctrl-C reaches Terraform's whole process group; Terraform says itself when we should stop.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    trio.run(run)
    return 0


def say(line: str) -> None:
    """Say a line to Terraform."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _program_version() -> str:
    """Return the version of what is installed."""
    try:
        return version("kled")
    except PackageNotFoundError:
        return "0 (not installed)"


if __name__ == "__main__":
    sys.exit(main())
