"""`kled up` as a service of the user: a systemd user unit, or a launchd agent on macOS, as text."""

from __future__ import annotations

import hashlib
import plistlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

# Variables that the service takes from the environment in which it is installed. Never a token: a
# unit is no place for one, and the profile has it.
KEPT = ("KLED_CONFIG_DIR", "KLED_PROFILE", "KLED_CA_FILE", "KLED_KEYRING", "HTTPS_PROXY",
        "HTTP_PROXY", "NO_PROXY")  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class UserService:
    """Where its file goes, what is in it, and the commands that make it run and end.

    `probe` works where those will; it changes nothing.
    """

    name: str
    path: Path
    content: bytes
    probe: tuple[str, ...]
    start: tuple[tuple[str, ...], ...]
    stop: tuple[tuple[str, ...], ...]


def plan_service(
    directory: Path, command: Sequence[str], env: Mapping[str, str], *, home: Path, macos: bool
) -> UserService:
    """The service that runs `command` in `directory`, which names it."""
    kept = {name: env[name] for name in KEPT if env.get(name)}
    name = service_name(directory)
    if macos:
        return _launchd(name, directory, command, kept, home)
    return _systemd(name, directory, command, kept, _config_home(env, home))


def service_name(directory: Path) -> str:
    """One for each directory, and readable."""
    word = re.sub(r"[^A-Za-z0-9_-]+", "-", directory.name).strip("-") or "project"
    return f"kled-up-{word}-{hashlib.sha256(str(directory).encode()).hexdigest()[:8]}"


def _config_home(env: Mapping[str, str], home: Path) -> Path:
    given = env.get("XDG_CONFIG_HOME", "")
    return Path(given) if given.startswith("/") else home / ".config"


def _systemd(
    name: str, directory: Path, command: Sequence[str], env: Mapping[str, str], config: Path
) -> UserService:
    unit = f"{name}.service"
    lines = [
        "[Unit]",
        f"Description=kled up in {_escape(str(directory))}",
        "After=network-online.target",
        "StartLimitIntervalSec=0",
        "",
        "[Service]",
        f"WorkingDirectory={_escape(str(directory))}",
        f"ExecStart={' '.join(_quote(word, command=True) for word in command)}",
        *(f"Environment={_quote(f'{key}={value}', command=False)}" for key, value in env.items()),
        "Restart=always",
        "RestartSec=10",
        "",
        "[Install]",
        "WantedBy=default.target",
        "",
    ]
    control = ("systemctl", "--user")
    return UserService(
        name=unit,
        path=config / "systemd" / "user" / unit,
        content="\n".join(lines).encode(),
        probe=(*control, "show-environment"),
        start=(
            (*control, "daemon-reload"),
            (*control, "enable", unit),
            (*control, "restart", unit),
        ),
        stop=((*control, "disable", "--now", unit),),
    )


def _escape(text: str) -> str:
    """systemd.unit(5): a percent sign begins a specifier."""
    return text.replace("%", "%%")


def _quote(word: str, *, command: bool) -> str:
    """systemd.syntax(7) and systemd.service(5), Command lines."""
    text = _escape(word).replace("\\", "\\\\").replace('"', '\\"')
    if command:  # variables are replaced in command lines alone
        text = text.replace("$", "$$")
    return f'"{text}"'


def _launchd(
    name: str, directory: Path, command: Sequence[str], env: Mapping[str, str], home: Path
) -> UserService:
    label = f"dev.kled.{name}"
    path = home / "Library" / "LaunchAgents" / f"{label}.plist"
    content = plistlib.dumps(
        {
            "Label": label,
            "ProgramArguments": list(command),
            "WorkingDirectory": str(directory),
            "EnvironmentVariables": dict(env),
            "RunAtLoad": True,
            "KeepAlive": True,
            "ThrottleInterval": 10,
        }
    )
    return UserService(
        name=label,
        path=path,
        content=content,
        probe=("launchctl", "list"),
        start=(("launchctl", "load", "-w", str(path)),),
        stop=(("launchctl", "unload", "-w", str(path)),),
    )
