"""Terraform's CLI configuration file, which the coordinator's environment may name.

Terraform reads it; here it is read for what a run has to have: paths that it names, a plugin cache.
Source: https://developer.hashicorp.com/terraform/cli/config/config-file.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from kled_wire.errors import ConfigError

CLI_CONFIG: Final = "TF_CLI_CONFIG_FILE"


def read_cli_config(environment: Mapping[str, str]) -> str:
    """The text of the file; "" where none is named or none is there. Blocks. Raises ConfigError."""
    named = environment.get(CLI_CONFIG)
    if not named:
        return ""
    try:
        return Path(named).read_text("utf-8", "replace")
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return ""
    except OSError as error:
        raise ConfigError(
            "terraform_config_unreadable",
            f"{CLI_CONFIG} names {named}, which cannot be read: {error.strerror}",
            hint="let the coordinator's user read it, or unset the variable",
        ) from error
