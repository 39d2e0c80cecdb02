"""Stores the token: in the OS keyring if there is a usable one, else in a 0600 file.

`KLED_TOKEN` in the environment wins over both. `KLED_KEYRING=off` keeps to the file.
"""
# ruff: noqa: PTH118, PTH120
# `kled stream` uses this; pathlib would add 5 ms to every ssh connection.

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

from kled_client.account.files import ensure_private_dir, read_private, remove, write_private
from kled_client.account.profile import TOKEN_IN_FILE, TOKEN_IN_KEYRING, Profile, config_dir
from kled_wire.errors import ConfigError, UnauthenticatedError

if TYPE_CHECKING:
    from keyring.backend import KeyringBackend

_SERVICE = "kled"
# Backends that keep nothing, or keep it where anybody's backup reads it.
_USELESS = ("keyring.backends.fail", "keyring.backends.null", "keyrings.alt")


def token_path(env: Mapping[str, str], profile_name: str) -> str:
    return os.path.join(config_dir(env), "tokens", profile_name)


def load_token(env: Mapping[str, str], profile: Profile) -> str:
    """The bearer token. Raises UnauthenticatedError("not_logged_in") and ConfigError."""
    given = env.get("KLED_TOKEN")
    if given:
        return _check(given, "KLED_TOKEN")
    if profile.token_store == TOKEN_IN_KEYRING:
        stored = _from_keyring(profile)
    elif profile.token_store == TOKEN_IN_FILE:
        stored = _from_file(token_path(env, profile.name))
    else:
        stored = None
    if not stored:
        raise UnauthenticatedError(
            "not_logged_in",
            f"there is no token for {profile.url} (profile {profile.name})",
            hint=f"kled login {profile.url}, or set KLED_TOKEN",
        )
    return _check(stored, f"the stored token of profile {profile.name}")


def store_token(env: Mapping[str, str], profile_name: str, token: str) -> str:
    """Keep `token`; returns where: TOKEN_IN_KEYRING or TOKEN_IN_FILE. Raises ConfigError."""
    path = token_path(env, profile_name)
    if env.get("KLED_KEYRING") != "off" and _into_keyring(profile_name, token):
        remove(path)
        return TOKEN_IN_KEYRING
    ensure_private_dir(config_dir(env))
    ensure_private_dir(os.path.dirname(path))
    write_private(path, token.encode() + b"\n")
    return TOKEN_IN_FILE


def forget_token(env: Mapping[str, str], profile: Profile) -> None:
    """Delete the stored token, wherever it is. Raises ConfigError."""
    remove(token_path(env, profile.name))
    if profile.token_store != TOKEN_IN_KEYRING:
        return
    import keyring  # noqa: PLC0415  # slow to import, and only needed here
    import keyring.errors  # noqa: PLC0415

    try:
        keyring.delete_password(_SERVICE, profile.name)
    except keyring.errors.PasswordDeleteError:
        return
    except keyring.errors.KeyringError as exc:
        raise ConfigError("keyring_failed", f"the OS keyring refused: {exc}") from exc


def _check(token: str, source: str) -> str:
    token = token.strip()
    if not token.isascii() or not token.isprintable() or " " in token:
        is_given = source == "KLED_TOKEN"
        hint = "unset it, or kled token create makes one" if is_given else "kled login URL"
        raise ConfigError("token_malformed", f"{source} is not a token", hint=hint)
    return token


def _from_file(path: str) -> str | None:
    try:
        return read_private(path).decode("ascii", "replace")
    except FileNotFoundError:
        return None


def _from_keyring(profile: Profile) -> str | None:
    import keyring  # noqa: PLC0415  # 100 ms that only keyring users pay
    import keyring.errors  # noqa: PLC0415

    try:
        return keyring.get_password(_SERVICE, profile.name)
    except keyring.errors.KeyringError as exc:
        raise ConfigError(
            "keyring_failed",
            f"the OS keyring does not give the token: {exc}",
            hint="unlock it, or set KLED_TOKEN",
        ) from exc


def _into_keyring(name: str, token: str) -> bool:
    import keyring  # noqa: PLC0415
    import keyring.errors  # noqa: PLC0415

    if not _usable(keyring.get_keyring()):
        return False
    try:
        keyring.set_password(_SERVICE, name, token)
        return keyring.get_password(_SERVICE, name) == token
    except keyring.errors.KeyringError:
        # A keyring that is there but locked or broken must not stop a login.
        return False


def _usable(backend: KeyringBackend) -> bool:
    """Whether a keyring backend really protects a secret."""
    members = getattr(backend, "backends", None)
    if members is not None:
        return any(_usable(member) for member in members)
    return not type(backend).__module__.startswith(_USELESS)
