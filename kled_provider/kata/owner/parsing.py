"""Reads the text of the owner's file. What it does not know is refused: it may be a typing error.

Each function reads one table; `_Table` takes keys out and complains of those that are left.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Mapping
from ipaddress import IPv4Network
from pathlib import PurePosixPath
from typing import Any, TypeVar

from kled_provider.kata.owner.file import (
    Configuration,
    Containerd,
    Credentials,
    Handler,
    HostPlace,
    ImageRegistry,
    Images,
    Networks,
    OwnerFile,
    OwnerFileError,
    Use,
    WithoutKata,
)
from kled_provider.kata.runtime_config.keys import HYPERVISORS
from kled_provider.kata.runtime_config.other_keys import TABLES, dangerous_keys

FILE_BYTES = 1024 * 1024

_T = TypeVar("_T")
_NAME = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,62}[a-z0-9])?")
# containerd's identifiers, https://github.com/containerd/containerd/blob/main/pkg/identifiers
_IDENTIFIER = re.compile(r"[A-Za-z0-9]+(?:[._-][A-Za-z0-9]+)*")
_RUNTIME = re.compile(r"[A-Za-z0-9]+(?:[._-][A-Za-z0-9]+)*\.v[0-9]+")
_REGISTRY = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?(?::[0-9]{1,5})?")
_CAPABILITY = re.compile(r"CAP_[A-Z_]{2,40}")


def parse_owner_file(text: str) -> OwnerFile:
    """Parse the text. Raises OwnerFileError, whose message says where in the file."""
    try:
        found = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise OwnerFileError("owner_file_malformed", f"it is not TOML: {error}") from error
    table = _Table(found, "")
    parsed = OwnerFile(
        state_directory=table.path("state_directory", OwnerFile().state_directory),
        containerd=_containerd(table.table("containerd")),
        networks=_networks(table.table("networks")),
        images=_images(table.table("images")),
        handlers=table.named("handlers", _handler),
        configurations=table.named("configurations", _configuration),
        credentials=table.named("credentials", _credentials),
        registries=table.named("registries", _registry, name=_REGISTRY),
        places=table.named("places", _place),
        devices=table.values("devices", _absolute),
        allowed=_allowed(table.table("allowed")),
        extra_toml=table.values("extra_toml", _extra),
        without_kata=_without_kata(table.table("without_kata")),
    )
    table.end()
    _refer(parsed)
    return parsed


def _containerd(table: _Table) -> Containerd:
    usual = Containerd()
    found = Containerd(
        address=table.path("address", usual.address),
        namespace=table.matching("namespace", _IDENTIFIER, usual.namespace),
        snapshotter=table.matching("snapshotter", _IDENTIFIER, usual.snapshotter),
    )
    table.end()
    return found


def _networks(table: _Table) -> Networks:
    usual = Networks()
    found = Networks(
        plugin_directories=table.each(
            "plugin_directories", _absolute, usual.plugin_directories, least=1
        ),
        address_pools=table.each("address_pools", _pool, usual.address_pools, least=1),
    )
    table.end()
    return found


def _images(table: _Table) -> Images:
    usual = Images()
    found = Images(
        keep_bytes=table.whole("keep_bytes", usual.keep_bytes),
        unpacked_bytes=table.whole("unpacked_bytes", usual.unpacked_bytes),
    )
    table.end()
    return found


def _handler(name: str, table: _Table) -> Handler:
    found = Handler(
        name=name,
        runtime=table.read("runtime", _runtime, None),
        hypervisor=table.choice("hypervisor", HYPERVISORS),
        configuration=table.text("configuration", "") or None,
        snapshotter=table.matching("snapshotter", _IDENTIFIER, "") or None,
    )
    if found.configuration is not None and not found.is_kata:
        raise table.error(
            "configuration", "the handler has none without `hypervisor`: it is not Kata"
        )
    table.end()
    return found


def _configuration(name: str, table: _Table) -> Configuration:
    found = Configuration(
        name=name, path=table.path("path", None), drop_ins=table.flag("drop_ins", default=False)
    )
    table.end()
    return found


def _credentials(name: str, table: _Table) -> Credentials:
    found = Credentials(
        name=name,
        registry=table.matching("registry", _REGISTRY, None),
        username=table.text("username", None),
        password_file=table.path("password_file", None),
    )
    table.end()
    return found


def _registry(name: str, table: _Table) -> ImageRegistry:
    found = ImageRegistry(
        host=name,
        plain_http=table.flag("plain_http", default=False),
        ca_file=table.path("ca_file", "") or None,
    )
    if found.plain_http and found.ca_file:
        raise table.error("ca_file", "it has no use with `plain_http`")
    table.end()
    return found


def _place(name: str, table: _Table) -> HostPlace:
    found = HostPlace(
        name=name,
        path=table.path("path", None),
        uses=frozenset(table.each("uses", _use, None, least=1)),
        read_only=table.flag("read_only", default=True),
    )
    if Use.VOLUME in found.uses and found.read_only:
        raise table.error("uses", "volumes are written: set `read_only` to false")
    table.end()
    return found


def _without_kata(table: _Table) -> WithoutKata:
    found = WithoutKata(
        privileged=table.flag("privileged", default=False),
        capabilities=frozenset(table.each("capabilities", _capability, ())),
        devices=frozenset(table.each("devices", str, ())),
    )
    table.end()
    return found


def _allowed(table: _Table) -> Mapping[str, Mapping[str, tuple[str, ...]]]:
    """The tables are named as a template's blocks are, such as `[allowed.hypervisor]`."""
    found = {}
    for name in TABLES:
        *above, last = name.split(".")
        at = table
        for step in above:
            at = at.table(step)
        keys = at.table(last)
        found[name] = {
            key: keys.each(key, str, ()) for key in sorted(dangerous_keys(name)) if key in keys
        }
        for block in (other for other in TABLES if other.startswith(f"{name}.")):
            keys.expect(block.removeprefix(f"{name}."))
        keys.end("is no key whose values have to be listed")
    table.end()
    return {name: values for name, values in found.items() if values}


def _refer(parsed: OwnerFile) -> None:
    """Check that what is named is there."""
    for handler in parsed.handlers.values():
        if handler.configuration not in (None, *parsed.configurations):
            raise OwnerFileError(
                "owner_file_name_unknown",
                f"handlers.{handler.name}.configuration: there is no "
                f"[configurations.{handler.configuration}]",
            )
    for device in sorted(parsed.without_kata.devices - parsed.devices.keys()):
        raise OwnerFileError(
            "owner_file_name_unknown", f"without_kata.devices: {device!r} is not in [devices]"
        )


class _Table:
    """A table that is being read; every method raises OwnerFileError."""

    def __init__(self, found: Mapping[str, Any], where: str) -> None:
        self._left = dict(found)
        self._where = where

    def __contains__(self, key: str) -> bool:
        return key in self._left

    def error(
        self, key: str, problem: str, *, code: str = "owner_file_value_invalid"
    ) -> OwnerFileError:
        return OwnerFileError(code, f"{self._at(key)}: {problem}")

    def invalid(self, key: str, wanted: str, found: object) -> OwnerFileError:
        shown = repr(found)
        return self.error(key, f"use {wanted}; got {shown[:80]}{'…' if len(shown) > 80 else ''}")

    def end(self, problem: str = "is not known") -> None:
        for key in self._left:
            raise OwnerFileError("owner_file_key_unknown", f"{self._at(key)} {problem}")

    def expect(self, key: str) -> None:
        """Leave alone what another read has to do with."""
        self._left.pop(key, None)

    def table(self, key: str) -> _Table:
        return _Table(self._typed(key, dict, {}, "a table"), self._at(key))

    def named(
        self, key: str, read: Callable[[str, _Table], _T], *, name: re.Pattern[str] = _NAME
    ) -> Mapping[str, _T]:
        tables = self._typed(key, dict, {}, "a table of tables")
        reader = _Table(tables, self._at(key))
        return {one: read(one, reader.table(_checked(reader, one, name))) for one in tables}

    def values(self, key: str, read: Callable[[str], str]) -> Mapping[str, str]:
        values = self._typed(key, dict, {}, "a table")
        reader = _Table(values, self._at(key))
        return {one: reader.read(_checked(reader, one, _NAME), read, None) for one in values}

    def text(self, key: str, default: str | None) -> str:
        found: str = self._typed(key, str, default, "a string")
        if "\0" in found or (default is None and not found):
            raise self.invalid(key, "a string that is not empty", found)
        return found

    def matching(self, key: str, pattern: re.Pattern[str], default: str | None) -> str:
        found = self.text(key, default)
        if found != default and not pattern.fullmatch(found):
            raise self.invalid(key, f"what fits {pattern.pattern}", found)
        return found

    def choice(self, key: str, choices: tuple[str, ...]) -> str | None:
        found = self.text(key, "")
        if found and found not in choices:
            raise self.invalid(key, f"{', '.join(choices[:-1])} or {choices[-1]}", found)
        return found or None

    def read(self, key: str, read: Callable[[str], str], default: str | None) -> str:
        found = self.text(key, default)
        return found if found == default else self._read(key, read, found)

    def path(self, key: str, default: str | None) -> str:
        return self.read(key, _absolute, default)

    def flag(self, key: str, *, default: bool) -> bool:
        found: bool = self._typed(key, bool, default, "true or false")
        return found

    def whole(self, key: str, default: int) -> int:
        found: int = self._typed(key, int, default, "a whole number")
        if isinstance(found, bool) or found < 0:
            raise self.invalid(key, "a whole number, 0 or more", found)
        return found

    def each(
        self,
        key: str,
        read: Callable[[str], _T],
        default: tuple[_T, ...] | None,
        *,
        least: int = 0,
    ) -> tuple[_T, ...]:
        if key not in self._left and default is not None:
            return default
        found = self._typed(key, list, None, "a list of strings")
        if len(found) < least or not all(isinstance(item, str) and item for item in found):
            raise self.invalid(key, "a list of strings that are not empty", found)
        return tuple(self._read(key, read, item) for item in found)

    def _read(self, key: str, read: Callable[[str], _T], value: str) -> _T:
        try:
            return read(value)
        except ValueError as error:
            raise self.invalid(key, str(error), value) from error

    def _typed(self, key: str, wanted: type, default: Any, words: str) -> Any:
        if key not in self._left:
            if default is None:
                raise self.error(key, f"it is missing: {words}", code="owner_file_value_missing")
            return default
        found = self._left.pop(key)
        if not isinstance(found, wanted):
            raise self.invalid(key, words, found)
        return found

    def _at(self, key: str) -> str:
        shown = key if re.fullmatch(r"[A-Za-z0-9_-]{1,80}", key) else f'"{key[:80]!r}"'
        return f"{self._where}.{shown}" if self._where else shown


def _checked(table: _Table, name: str, pattern: re.Pattern[str]) -> str:
    if not pattern.fullmatch(name):
        raise table.error(name, f"a name has to fit {pattern.pattern}")
    return name


# --- what one string says; a ValueError has what to write instead


def _absolute(value: str) -> str:
    if not value.startswith("/") or str(PurePosixPath(value)) != value or ".." in value.split("/"):
        raise ValueError("an absolute path without `..`, `//` or `/` at its end")
    return value


def _runtime(value: str) -> str:
    if value.startswith("/"):
        return _absolute(value)
    if not _RUNTIME.fullmatch(value):
        raise ValueError("a runtime of containerd, such as io.containerd.kata.v2, or a shim's path")
    return value


def _pool(value: str) -> IPv4Network:
    try:
        found = IPv4Network(value)
    except ValueError:
        found = None
    if found is None or not found.is_private or found.prefixlen > 28:
        raise ValueError("a private IPv4 network, such as 10.88.0.0/16, of at most 28 bits")
    return found


def _use(value: str) -> Use:
    try:
        return Use(value)
    except ValueError:
        raise ValueError(", ".join(use.value for use in Use)) from None


def _capability(value: str) -> str:
    if not _CAPABILITY.fullmatch(value):
        raise ValueError("a capability, such as CAP_NET_ADMIN")
    return value


def _extra(value: str) -> str:
    try:
        tomllib.loads(value)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise ValueError(f"TOML ({error})") from error
    return value
