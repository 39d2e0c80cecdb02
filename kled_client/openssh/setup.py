"""Put kled's block into the user's ssh configuration, or take it out: the I/O of block.py."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

from kled_client.account.certificate import identity_of
from kled_client.account.files import make_private_dir, replace_private
from kled_client.account.profile import DEFAULT_PROFILE, config_dir
from kled_client.openssh.block import BlockSettings, put_block, render_block
from kled_wire.errors import ConfigError

# A Unix socket's path ends at 104 bytes on macOS; ssh adds 17 while it makes the socket, and %C
# becomes 40.
_CONTROL_DIR_MAX = 104 - 1 - 17 - 1 - 40


def default_path(env: Mapping[str, str]) -> Path:
    """The user's own ssh configuration."""
    return Path(env.get("HOME") or Path.home()) / ".ssh" / "config"


def read_config(path: Path) -> bytes:
    """The file's bytes; none when there is no file. Raises ConfigError."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""
    except OSError as exc:
        raise ConfigError("ssh_config_unreadable", f"cannot read {path}: {exc.strerror}") from exc


def write_config(path: Path, content: bytes) -> None:
    """Replace the file, 0600, in one rename; a link is followed, not replaced.

    Raises ConfigError("config_not_writable").
    """
    real = path.resolve()
    try:
        make_private_dir(str(real.parent))
        replace_private(str(real), content)
    except OSError as exc:
        raise ConfigError(
            "config_not_writable",
            f"cannot write {real}: {exc.strerror}",
            hint=f"ls -ld {real.parent} says who may write there, df -h {real.parent} what is free",
        ) from exc


def with_block(env: Mapping[str, str], profile_name: str, content: bytes) -> bytes:
    """`content` with the block for `profile_name`. Raises InputError."""
    return put_block(content, render_block(block_settings(env, profile_name)))


def install(env: Mapping[str, str], profile_name: str, path: Path) -> bool:
    """Write the block; returns whether the file changed. Raises InputError and ConfigError."""
    before = read_config(path)
    after = with_block(env, profile_name, before)
    if before == after:
        return False
    write_config(path, after)
    return True


def block_settings(env: Mapping[str, str], profile_name: str) -> BlockSettings:
    """The block's paths for this machine and user."""
    identity = identity_of(env, profile_name)
    kled = (*_environment_words(env), *kled_command())
    chosen = () if profile_name == DEFAULT_PROFILE else (f"--profile={profile_name}",)
    return BlockSettings(
        command=(*kled, "stream", "--fdpass", *chosen),
        renew=(*kled, *chosen, "ssh-cert"),
        renewed=identity.state,
        identity=identity.key,
        certificate=identity.certificate,
        known_hosts=identity.known_hosts,
        control_path=_control_path(env, identity.directory),
    )


def _environment_words(env: Mapping[str, str]) -> tuple[str, ...]:
    """What ssh must set so that kled finds the profile: IDEs and cron have another environment."""
    used = config_dir(env)
    usual = config_dir({"HOME": env["HOME"]} if env.get("HOME") else {})
    # ssh puts `exec` before the command, which takes no assignments: env(1) does.
    return () if used == usual else ("env", f"KLED_CONFIG_DIR={used}")


def kled_command() -> tuple[str, ...]:
    """How to start this same kled, by absolute paths: ssh may run with another PATH."""
    beside = Path(sys.executable).parent / "kled"
    found = Path(sys.argv[0]) if Path(sys.argv[0]).name == "kled" else beside
    if found.is_file() and os.access(found, os.X_OK):
        return (str(found.absolute()),)
    on_path = shutil.which("kled")
    if on_path:
        return (str(Path(on_path).absolute()),)
    return (sys.executable, "-m", "kled_client")


def _control_path(env: Mapping[str, str], directory: str) -> str | None:
    """Where shared connections have their socket; None where every path is too long for one."""
    for candidate in (directory, str(default_path(env).parent)):
        if len(os.fsencode(candidate)) <= _CONTROL_DIR_MAX:
            return f"{candidate.replace('%', '%%')}/%C"
    return None
