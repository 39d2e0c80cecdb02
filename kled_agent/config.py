"""The agent's settings, read once: flags over environment over a TOML file."""

from __future__ import annotations

import ipaddress
import math
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Final

from kled_agent.sessions.holder.lifetime import SIZE_POLICIES
from kled_wire.errors import ConfigError
from kled_wire.transport.address import parse_url

DEFAULT_FILE: Final = Path("/etc/kled/agent.toml")
_LEVELS: Final = ("debug", "info", "warning", "error")
ENVIRONMENT_SOURCES: Final = ("off", "parent")
DIRECT_POLICIES: Final = ("off", "private", "any")


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentConfig:
    """The agent's settings. `token` may be empty where an identity is kept in `state_dir`."""

    coordinator_url: str
    token: str = field(default="", repr=False)
    state_dir: Path = Path("/var/lib/kled-agent")
    user: str = ""
    shell: str = ""
    log_level: str = "info"
    # How long a stream may wait for its client to come back, in seconds.
    detached_s: float = 12 * 3600.0
    # The direct path: who may come (kled_agent/control/direct.py), where to listen, and for how
    # long a stream may be there before the coordinator is asked about it again, in seconds.
    direct_listen: str = "off"
    direct_bind: str = "[::]:0"
    direct_vouched_s: float = 3600.0
    # Named sessions (docs/terminals.md): whose size counts, and limits; 0 s is none.
    session_size: str = "latest"
    session_idle_s: float = 0
    session_orphan_s: float = 3600
    session_limit: float = 32
    session_ring_bytes: float = 8 * 1024 * 1024
    # The environment that sessions inherit: none, or that of the process that started the agent.
    session_environment: str = "off"

    @property
    def identity_file(self) -> Path:
        """What the agent keeps of itself (kled_agent/identity.py)."""
        return self.state_dir / "identity.json"


# Settings that are numbers; in the environment they are written in decimal.
_NUMBERS: Final = frozenset(
    {
        "detached_s",
        "direct_vouched_s",
        "session_idle_s",
        "session_orphan_s",
        "session_limit",
        "session_ring_bytes",
    }
)

# Where each setting comes from in the environment; in the file the names are those of Config.
ENVIRONMENT: Final[Mapping[str, str]] = {
    "coordinator_url": "KLED_COORDINATOR_URL",
    "token": "KLED_AGENT_TOKEN",
    "token_file": "KLED_AGENT_TOKEN_FILE",
    "state_dir": "KLED_AGENT_STATE_DIR",
    "user": "KLED_AGENT_USER",
    "shell": "KLED_AGENT_SHELL",
    "log_level": "KLED_AGENT_LOG_LEVEL",
    "detached_s": "KLED_AGENT_DETACHED_S",
    "direct_listen": "KLED_AGENT_DIRECT_LISTEN",
    "direct_bind": "KLED_AGENT_DIRECT_BIND",
    "direct_vouched_s": "KLED_AGENT_DIRECT_VOUCHED_S",
    "session_size": "KLED_AGENT_SESSION_SIZE",
    "session_idle_s": "KLED_AGENT_SESSION_IDLE_S",
    "session_orphan_s": "KLED_AGENT_SESSION_ORPHAN_S",
    "session_limit": "KLED_AGENT_SESSION_LIMIT",
    "session_ring_bytes": "KLED_AGENT_SESSION_RING_BYTES",
    "session_environment": "KLED_AGENT_SESSION_ENVIRONMENT",
}


# What templates made for Coder give an agent; our own variables come before them.
CODER_ENVIRONMENT: Final[Mapping[str, str]] = {
    "coordinator_url": "CODER_AGENT_URL",
    "token": "CODER_AGENT_TOKEN",
}


def load_config(
    file: Path | None, environ: Mapping[str, str], flags: Mapping[str, str | None]
) -> AgentConfig:
    """Merge the three sources. Raises ConfigError naming the setting and where it came from."""
    values: dict[str, tuple[str, str]] = {}
    for name, text in _read_file(file, environ).items():
        values[name] = text, "the configuration file"
    for name, variable in (*CODER_ENVIRONMENT.items(), *ENVIRONMENT.items()):
        if environ.get(variable):
            values[name] = environ[variable], variable
    for name, flag in flags.items():
        if flag:
            values[name] = flag, f"--{name.replace('_', '-')}"
    return _build(values, environ)


def _read_file(file: Path | None, environ: Mapping[str, str]) -> dict[str, str]:
    named = file or (Path(p) if (p := environ.get("KLED_AGENT_CONFIG")) else None)
    path = named or DEFAULT_FILE
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as exc:
        if named is None:
            return {}
        source = "--config" if file else "KLED_AGENT_CONFIG"
        raise ConfigError("config_unreadable", f"{source}: there is no file {path}") from exc
    except OSError as exc:
        raise ConfigError("config_unreadable", f"{path}: {exc.strerror}") from exc
    except ValueError as exc:
        raise ConfigError("config_malformed", f"{path}: {exc}") from exc
    for name, value in table.items():
        if name not in ENVIRONMENT:
            known = ", ".join(ENVIRONMENT)
            raise ConfigError("config_unknown", f"{path}: unknown setting {name}", hint=known)
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not isinstance(value, str) and not (number and name in _NUMBERS):
            raise ConfigError("config_malformed", f"{path}: {name} must be a string")
    return {name: str(value) for name, value in table.items()}


def _build(values: dict[str, tuple[str, str]], environ: Mapping[str, str]) -> AgentConfig:
    token_file = values.pop("token_file", None)
    if token_file and "token" not in values:
        values["token"] = _read_token(*token_file), token_file[1]
    level, source = values.get("log_level", ("info", ""))
    if level.lower() not in _LEVELS:
        raise ConfigError(
            "config_malformed", f"{source}: log_level is {level!r}", hint=f"one of {_LEVELS}"
        )
    _check_choice(values, "session_size", SIZE_POLICIES)
    _check_choice(values, "session_environment", ENVIRONMENT_SOURCES)
    _check_choice(values, "direct_listen", DIRECT_POLICIES)
    if bind := values.get("direct_bind"):
        parse_bind(*bind)
    if "coordinator_url" not in values:
        raise ConfigError(
            "coordinator_url_missing",
            "the agent has no coordinator URL",
            hint="set KLED_COORDINATOR_URL or --coordinator-url",
        )
    _check_url(*values["coordinator_url"])
    known = {f.name for f in fields(AgentConfig)}
    settings = {name: text for name, (text, _) in values.items() if name in known}
    state_dir = Path(settings.pop("state_dir", "") or default_state_dir(environ))
    numbers = {name: _number(name, *values[name]) for name in _NUMBERS if settings.pop(name, None)}
    merged: dict[str, Any] = {**settings, **numbers}
    return AgentConfig(**merged, state_dir=state_dir)


def _check_choice(
    values: Mapping[str, tuple[str, str]], name: str, allowed: tuple[str, ...]
) -> None:
    value, source = values.get(name, (allowed[0], ""))
    if value not in allowed:
        raise ConfigError(
            "config_malformed", f"{source}: {name} is {value!r}", hint=f"one of {allowed}"
        )


def parse_bind(text: str, source: str = "") -> tuple[str, int]:
    """Address and port of `10.0.0.5:40022` or `[::]:0`. Raises ConfigError."""
    host, _, port = text.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    try:
        address = ipaddress.ip_address(host[1:-1] if bracketed else host)
        if bracketed == (address.version == 6) and port.isdecimal() and int(port) < 65536:
            return str(address), int(port)
    except ValueError:
        pass  # said below
    raise ConfigError(
        "config_malformed",
        f"{source}: direct_bind is {text!r}, not an address and a port",
        hint="for instance [::]:0, every address and a free port",
    )


def _number(name: str, text: str, source: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        raise ConfigError("config_malformed", f"{source}: {name} is {text!r}, not a number")
    return value


def _check_url(url: str, source: str) -> None:
    try:
        parse_url(url)
    except ConfigError as exc:
        raise ConfigError(exc.code, f"{source}: {exc.message}", hint=exc.hint) from exc


def _read_token(path: str, source: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except (OSError, ValueError) as exc:
        raise ConfigError("token_unreadable", f"{source}: cannot read {path}: {exc}") from exc


def default_state_dir(environ: Mapping[str, str]) -> Path:
    """/var/lib/kled-agent for root, the user's state directory (XDG) for anyone else."""
    if os.geteuid() == 0:
        return Path("/var/lib/kled-agent")
    base = environ.get("XDG_STATE_HOME") or f"{environ.get('HOME', '/')}/.local/state"
    return Path(base) / "kled-agent"
