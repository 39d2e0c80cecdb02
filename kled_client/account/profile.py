"""Coordinator and user: the profiles in `config.json` and the environment's overrides.

`KLED_CONFIG_DIR`, else `$XDG_CONFIG_HOME/kled`, else `~/.config/kled` holds `config.json`:
`{"current": "default", "profiles": {"default": {"url": …, "user": …, "token_store": …}}}`.
There may be `"direct": "off"` beside a profile's URL.
`KLED_PROFILE` picks a profile; `KLED_URL` replaces its URL.
"""
# ruff: noqa: PTH100, PTH111, PTH117, PTH118, PTH123
# `kled stream` uses this; pathlib would add 5 ms to every ssh connection.

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any, NamedTuple

from kled_client.account.files import ensure_private_dir, write_private
from kled_wire.errors import ConfigError, UnauthenticatedError
from kled_wire.transport.address import parse_url

DEFAULT_PROFILE = "default"
TOKEN_IN_FILE = "file"  # noqa: S105  # names a place, not a token
TOKEN_IN_KEYRING = "keyring"  # noqa: S105
# The profile's token belongs to the profile's URL, so another URL comes without one.
TOKEN_NOWHERE = "none"  # noqa: S105


class Profile(NamedTuple):
    """One coordinator and how to sign in there. A NamedTuple: dataclasses cost 10 ms to import."""

    name: str
    url: str
    user: str = ""
    token_store: str = TOKEN_IN_FILE
    ca_file: str | None = None
    # "auto" or "off"; written by hand, and looked at in direct.py.
    direct: str = ""


def config_dir(env: Mapping[str, str]) -> str:
    """The absolute directory of everything the client keeps."""
    explicit = env.get("KLED_CONFIG_DIR")
    if explicit:
        return os.path.abspath(explicit)
    base = env.get("XDG_CONFIG_HOME")
    if not base or not os.path.isabs(base):
        base = os.path.join(env.get("HOME") or os.path.expanduser("~"), ".config")
    return os.path.join(base, "kled")


def config_path(env: Mapping[str, str]) -> str:
    return os.path.join(config_dir(env), "config.json")


def check_profile_name(name: str) -> str:
    """Return `name`, which becomes a file name. Raises ConfigError("profile_name_invalid")."""
    if not name or len(name) > 64 or not name.replace("-", "").replace("_", "").isalnum():
        raise ConfigError(
            "profile_name_invalid",
            f"{name!r} is not a profile name",
            hint="use letters, digits, - and _",
        )
    return name


def profile_name(env: Mapping[str, str], explicit: str | None) -> str:
    """The profile to use: the option, else KLED_PROFILE, else the file's current one."""
    chosen = explicit or env.get("KLED_PROFILE") or _read(env).get("current") or DEFAULT_PROFILE
    return check_profile_name(str(chosen))


def load(env: Mapping[str, str], explicit: str | None = None) -> Profile:
    """The profile in use. Raises UnauthenticatedError("not_logged_in") and ConfigError."""
    name = profile_name(env, explicit)
    override = env.get("KLED_URL")
    if name not in _profiles(env):
        if override:
            parse_url(override)
            return Profile(
                name=name,
                url=override,
                token_store=TOKEN_NOWHERE,
                ca_file=env.get("KLED_CA_FILE"),
            )
        others = names(env)
        if others:
            raise UnauthenticatedError(
                "not_logged_in",
                f"there is no profile {name}; there is {', '.join(others)}",
                hint=f"kled profile list, or kled --profile {name} login URL",
            )
        raise UnauthenticatedError(
            "not_logged_in",
            f"you are not logged in (profile {name})",
            hint="kled login URL",
        )
    profile = stored(env, name)
    if env.get("KLED_CA_FILE"):
        profile = profile._replace(ca_file=env["KLED_CA_FILE"])
    if override and parse_url(override) != parse_url(profile.url):
        profile = profile._replace(url=override, token_store=TOKEN_NOWHERE, user="")
    return profile


def stored(env: Mapping[str, str], name: str) -> Profile:
    """A profile as it was written. Raises ConfigError."""
    return _from_json(env, name, _profiles(env).get(name))


def names(env: Mapping[str, str]) -> list[str]:
    """The names of all profiles. Raises ConfigError."""
    return sorted(_profiles(env))


def save(env: Mapping[str, str], profile: Profile) -> None:
    """Write `profile` and make it the current one. Raises ConfigError.

    A `direct` that was written by hand stays where `profile` says nothing of it: who logs in again
    did not mean that.
    """
    content = _read(env)
    profiles = _profiles(env)
    written = {k: v for k, v in profile._asdict().items() if k != "name" and v}
    before = profiles.get(profile.name)
    if isinstance(before, dict) and "direct" in before:
        written = {"direct": before["direct"], **written}
    content["profiles"] = {**profiles, profile.name: written}
    content["current"] = profile.name
    _write(env, content)


def forget(env: Mapping[str, str], name: str) -> None:
    """Remove a profile; one that is not there is fine. Raises ConfigError."""
    content = _read(env)
    profiles = _profiles(env)
    if profiles.pop(name, None) is None:
        return
    content["profiles"] = profiles
    if content.get("current") == name:
        content["current"] = next(iter(profiles), DEFAULT_PROFILE)
    _write(env, content)


def _write(env: Mapping[str, str], content: dict[str, Any]) -> None:
    ensure_private_dir(config_dir(env))
    write_private(config_path(env), json.dumps(content, indent=2).encode() + b"\n")


def _read(env: Mapping[str, str]) -> dict[str, Any]:
    path = config_path(env)
    try:
        with open(path, "rb") as file:
            content = json.loads(file.read())
    except FileNotFoundError:
        return {}
    except OSError as exc:
        raise ConfigError("config_unreadable", f"cannot read {path}: {exc.strerror}") from exc
    except ValueError as exc:
        raise ConfigError(
            "config_invalid",
            f"{path} is not JSON: {exc}",
            hint="correct it, or delete it and run kled login URL",
        ) from exc
    if not isinstance(content, dict):
        raise _invalid(env, "it must be an object")
    return content


def _profiles(env: Mapping[str, str]) -> dict[str, Any]:
    profiles = _read(env).get("profiles", {})
    if not isinstance(profiles, dict):
        raise _invalid(env, "`profiles` must be an object")
    return profiles


def _from_json(env: Mapping[str, str], name: str, stored: object) -> Profile:
    if not isinstance(stored, dict) or not isinstance(stored.get("url"), str):
        raise _invalid(env, f"profile {name} has no `url`")
    for key in Profile._fields[2:]:
        if not isinstance(stored.get(key, ""), str):
            raise _invalid(env, f"profile {name}: `{key}` must be a string")
    parse_url(stored["url"])
    return Profile(name=name, **{k: stored[k] for k in Profile._fields[1:] if k in stored})


def _invalid(env: Mapping[str, str], what: str) -> ConfigError:
    return ConfigError(
        "config_invalid", f"{config_path(env)}: {what}", hint="kled login URL writes a valid one"
    )
