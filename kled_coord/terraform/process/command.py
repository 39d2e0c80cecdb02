"""The arguments, environment and backend file of a Terraform process.

No secret is ever an argument: every user of the machine can read those.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from kled_coord.terraform.process.cliconfig import CLI_CONFIG

PLAN_FILE = "kled.tfplan"
# `_override` makes Terraform merge it over the template's own files, whatever backend they name;
# override files are merged by name, and the last one wins.
BACKEND_FILE = "zz_kled_backend_override.tf.json"
# Beside the template, so that no file of its own can be in the way.
VALUES_FILE = "kled.tfvars"
_VALUES = f"-var-file=../{VALUES_FILE}"
# Where `init` writes what it has set up.
INITIALIZED_FILE = ".terraform/terraform.tfstate"
# Where Terraform writes the state when the backend does not take it.
ERRORED_STATE_FILE = "errored.tfstate"
LOCK_TIMEOUT = "-lock-timeout=3s"  # a run that was just stopped gives its lock back in that time
# Variables that the machine's owner sets for every program: proxies and trusted certificates.
INHERITED = (
    "PATH",
    "LANG",
    "TMPDIR",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "no_proxy",
    CLI_CONFIG,
    "TF_PLUGIN_CACHE_DIR",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class TerraformCommand:
    """A process to start."""

    argv: tuple[str, ...]
    environment: Mapping[str, str]
    directory: Path
    is_confined: bool = False  # then the process is bwrap, and the program its grandchild


@dataclass(frozen=True, slots=True, kw_only=True)
class Backend:
    """Where Terraform's `http` backend keeps the state; `lock_address` takes LOCK and UNLOCK."""

    address: str
    lock_address: str
    username: str
    password: str = field(repr=False)


def clean_environment(
    inherited: Mapping[str, str],
    *,
    home: Path,
    given: Mapping[str, str] | None = None,
    reattach: str = "",
    backend: Backend | None = None,
    marks: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """Return the whole environment of a Terraform process.

    Of `inherited` only INHERITED is kept: the coordinator's own environment holds secrets, and a
    template may run programs; by `marks` those are found again (leftovers.py). `given` is added
    whole.
    """
    found = {name: inherited[name] for name in INHERITED if name in inherited} | dict(given or {})
    # Terraform warns in every command about a file that is not there; images often set it so.
    if not os.path.isfile(found.get(CLI_CONFIG, "")):  # noqa: PTH113 - never raises
        found.pop(CLI_CONFIG, None)
    found |= {
        "HOME": str(home),
        "CHECKPOINT_DISABLE": "1",
        "TF_IN_AUTOMATION": "1",
        "TF_INPUT": "0",
    }
    if reattach:
        found["TF_REATTACH_PROVIDERS"] = reattach
    if backend is not None:
        found |= {"TF_HTTP_USERNAME": backend.username, "TF_HTTP_PASSWORD": backend.password}
    return found | dict(marks or {})


def backend_file(backend: Backend) -> str:
    """Return the text of BACKEND_FILE."""
    http = {
        "address": backend.address,
        "lock_address": backend.lock_address,
        "unlock_address": backend.lock_address,
        "lock_method": "LOCK",
        "unlock_method": "UNLOCK",
    }
    return json.dumps({"terraform": {"backend": {"http": http}}}, indent=2)


def no_backend_file() -> str:
    """Return the text of BACKEND_FILE where there is no state: none is kept, and none is there."""
    return json.dumps({"terraform": {"backend": {"local": {}}}})


def is_backend_in_use(initialized: bytes, backend: Backend) -> bool:
    """Whether the text of INITIALIZED_FILE says that `init` took our backend and no other."""
    try:
        found = json.loads(initialized)["backend"]
        return bool(found["type"] == "http" and found["config"]["address"] == backend.address)
    except (ValueError, KeyError, TypeError, RecursionError):
        return False


def init_arguments() -> tuple[str, ...]:
    """Prepare a directory."""
    return ("init", "-json", "-input=false")


def validate_arguments() -> tuple[str, ...]:
    """Check a prepared directory."""
    return ("validate", "-json")


def plan_arguments() -> tuple[str, ...]:
    """Plan into PLAN_FILE."""
    return ("plan", "-json", "-input=false", LOCK_TIMEOUT, _VALUES, f"-out={PLAN_FILE}")


def show_arguments() -> tuple[str, ...]:
    """Print what PLAN_FILE holds, secrets in clear."""
    return ("show", "-json", PLAN_FILE)


def preview_arguments(*, destroy: bool, refresh_only: bool) -> tuple[str, ...]:
    """Plan into PLAN_FILE from a copy of the state, which nobody else has."""
    mode = [("-destroy", destroy), ("-refresh-only", refresh_only)]
    chosen = tuple(option for option, is_asked in mode if is_asked)
    return ("plan", "-json", "-input=false", "-lock=false", _VALUES, *chosen, f"-out={PLAN_FILE}")


def look_arguments(targets: Sequence[str], directory: Path) -> tuple[str, ...]:
    """Plan `targets` and what they need, of a run in `directory`, and keep nothing of it."""
    return (
        *("plan", "-json", "-input=false", "-refresh=false", "-lock=false"),
        f"-var-file={directory / VALUES_FILE}",
        *(f"-target={target}" for target in targets),
    )


def apply_arguments(*, ephemeral: bool) -> tuple[str, ...]:
    """Apply PLAN_FILE, which has all values but `ephemeral` ones."""
    values = (_VALUES,) if ephemeral else ()
    return ("apply", "-json", "-input=false", LOCK_TIMEOUT, *values, PLAN_FILE)


def destroy_arguments() -> tuple[str, ...]:
    """Destroy all there is."""
    return ("destroy", "-json", "-input=false", LOCK_TIMEOUT, _VALUES, "-auto-approve")
