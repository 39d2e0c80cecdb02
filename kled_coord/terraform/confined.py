"""Terraform in a sandbox, which shows its run's directory, the provider's socket, the system.

The pid that TF_REATTACH_PROVIDERS names must live in Terraform's own process namespace and be one
that it may signal, or it cancels every call (docs/provider.md). So a shell inside starts a program
that sleeps, writes that pid into the variable, and becomes Terraform. It takes 2 ms.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

from kled_coord.sandbox.bubblewrap import View
from kled_coord.sandbox.choice import Sandbox
from kled_coord.terraform.plugincache import SHARED
from kled_coord.terraform.process.cliconfig import CLI_CONFIG, read_cli_config
from kled_coord.terraform.process.command import TerraformCommand
from kled_coord.terraform.providers import PID_INSIDE
from kled_coord.terraform.source.untrusted import make_directory

_START: Final = f"""\
sleep 2147483647 </dev/null >/dev/null 2>&1 &
left=$TF_REATTACH_PROVIDERS
text=
while [ "${{left#*'{PID_INSIDE}'}}" != "$left" ]; do
    text=$text${{left%%'{PID_INSIDE}'*}}$!
    left=${{left#*'{PID_INSIDE}'}}
done
export TF_REATTACH_PROVIDERS="$text$left"
exec "$@"
"""
# The files and directories that these variables name must be visible.
_NAMING_PATHS: Final = ("SSL_CERT_FILE", "SSL_CERT_DIR", CLI_CONFIG, SHARED)
# An absolute path as a value, in HCL or JSON.
_CONFIGURED: Final = re.compile(r'[=:]\s*"(/[^"$\\]+)"')


def confined(command: TerraformCommand, sandbox: Sandbox, view: View) -> TerraformCommand:
    """Return the command as it runs in a sandbox; `view` is what `look` has found.

    It may write to its HOME, the run's directory, in which lie what is /tmp inside and its own
    cache of providers. The shared one is read only, or one template could change those of all.
    """
    environment = dict(command.environment)
    environment.pop("TMPDIR", None)
    home = Path(environment["HOME"])
    temporary = make_directory(home, "tmp")  # an earlier stage's programs may have changed it
    shown = [*view.shown, *_named_paths(command)]
    writable = [home, *_socket_directories(environment)]
    argv = sandbox.confine(
        ("/bin/sh", "-c", _START, "sh", *command.argv),
        replace(view, shown=shown),
        directory=command.directory,
        writable={
            Path("/tmp"): temporary,  # noqa: S108 - the path inside
            **{path: path for path in writable},
        },
        options=("--as-pid-1",),  # sandbox/inside.py
    )
    return replace(command, argv=argv, environment=environment, is_confined=True)


def _named_paths(command: TerraformCommand) -> list[Path]:
    found = [Path(word) for word in command.argv if word.startswith("/")]
    found += [Path(command.environment[n]) for n in _NAMING_PATHS if n in command.environment]
    found += _configured_paths(read_cli_config(command.environment))
    return [path for path in found if path.exists()]


def _configured_paths(config: str) -> list[Path]:
    """What the owner's file names: mirrors, a cache, a provider under development."""
    stated = [line for line in config.splitlines() if not line.lstrip().startswith(("#", "//"))]
    return [Path(path) for path in _CONFIGURED.findall("\n".join(stated))]


def _socket_directories(environment: Mapping[str, str]) -> set[Path]:
    found = json.loads(environment.get("TF_REATTACH_PROVIDERS", "{}"))
    return {Path(entry["Addr"]["String"]).parent for entry in found.values()}
