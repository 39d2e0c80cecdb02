"""The file of environment variables for Terraform's providers: credentials, regions.

One NAME=VALUE a line; empty lines and those that begin with # are left out, a value in one pair of
quotes is taken without them (as in EnvironmentFile= of systemd.exec(5), without its escapes).
"""

from __future__ import annotations

import re
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from kled_wire.errors import ConfigError

MAX_BYTES: Final = 64 << 10
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
# Variables that the coordinator sets itself.
_OURS: Final = ("HOME", "TF_HTTP_PASSWORD", "TF_HTTP_USERNAME", "TF_REATTACH_PROVIDERS")


def load_environment(path: Path) -> Mapping[str, str]:
    """Read and parse the file. Blocks; raises ConfigError, also where others may read it."""
    try:
        with path.open(encoding="utf-8") as file:
            if stat.S_IMODE(path.stat().st_mode) & stat.S_IROTH:
                raise ConfigError(
                    "config_invalid",
                    f"terraform_env_file {path}: every user of this machine may read it",
                    hint=f"chmod o-r {path}",
                )
            text = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ConfigError(
            "config_unreadable", f"terraform_env_file {path}: {error.strerror}"
        ) from error
    except UnicodeDecodeError as error:
        raise ConfigError("config_invalid", f"terraform_env_file {path}: not UTF-8") from error
    if len(text) > MAX_BYTES:
        raise ConfigError("config_invalid", f"terraform_env_file {path}: over {MAX_BYTES} bytes")
    return parse_environment(text, str(path))


def parse_environment(text: str, source: str) -> Mapping[str, str]:
    """Return the variables of a file's `text`; `source` names it in errors.

    Raises ConfigError("config_invalid") with the line's number, never with what it holds.
    """
    found: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        stripped = line.strip()
        if not stripped or stripped.startswith("#"):
            continue
        name, equals, value = stripped.partition("=")
        if not equals or not _NAME.match(name) or "\0" in value:
            raise _invalid(source, number, "is not NAME=VALUE")
        if name in _OURS or name.startswith("KLED_"):
            raise _invalid(source, number, f"{name} is set by the coordinator")
        found[name] = _unquoted(value)
    return found


def _unquoted(value: str) -> str:
    quoted = len(value) >= 2 and value[0] == value[-1] and value[0] in "\"'"
    return value[1:-1] if quoted else value


def _invalid(source: str, number: int, what: str) -> ConfigError:
    return ConfigError("config_invalid", f"terraform_env_file {source}, line {number}: {what}")
