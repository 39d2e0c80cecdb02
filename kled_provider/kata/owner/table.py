"""Takes the keys out of one table of the owner's file, and complains of those that are left."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import PurePosixPath
from typing import Any, TypeVar

from kled_provider.kata.owner.file import OwnerFileError

_T = TypeVar("_T")
# The form of names of handlers, places and so on.
NAME = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,62}[a-z0-9])?")


class OwnerTable:
    """A table that is being read; every method raises OwnerFileError.

    The functions that read one string raise a ValueError with what to write instead.
    """

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

    def table(self, key: str) -> OwnerTable:
        return OwnerTable(self._typed(key, dict, {}, "a table"), self._at(key))

    def named(
        self, key: str, read: Callable[[str, OwnerTable], _T], *, name: re.Pattern[str] = NAME
    ) -> Mapping[str, _T]:
        tables = self._typed(key, dict, {}, "a table of tables")
        reader = OwnerTable(tables, self._at(key))
        return {one: read(one, reader.table(_checked(reader, one, name))) for one in tables}

    def values(self, key: str, read: Callable[[str], str]) -> Mapping[str, str]:
        values = self._typed(key, dict, {}, "a table")
        reader = OwnerTable(values, self._at(key))
        return {one: reader.read(_checked(reader, one, NAME), read, None) for one in values}

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
        return self.read(key, absolute_path, default)

    def flag(self, key: str, *, default: bool) -> bool:
        found: bool = self._typed(key, bool, default, "true or false")
        return found

    def whole(self, key: str, default: int, *, least: int = 0) -> int:
        found: int = self._typed(key, int, default, "a whole number")
        if isinstance(found, bool) or found < least:
            raise self.invalid(key, f"a whole number, {least} or more", found)
        return found

    def amount(self, key: str, default: float) -> float:
        found: float = self._typed(key, (int, float), default, "a number")
        if isinstance(found, bool) or not 0 < found <= 1024:
            raise self.invalid(key, "a number above 0, at most 1024", found)
        return float(found)

    def names(self, key: str) -> list[str]:
        """Return the keys of a table that is still to be read."""
        found = self._left.get(key)
        return list(found) if isinstance(found, dict) else []

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

    def _typed(self, key: str, wanted: type | tuple[type, ...], default: Any, words: str) -> Any:
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


def _checked(table: OwnerTable, name: str, pattern: re.Pattern[str]) -> str:
    if not pattern.fullmatch(name):
        raise table.error(name, f"a name has to fit {pattern.pattern}")
    return name


def absolute_path(value: str) -> str:
    if not value.startswith("/") or str(PurePosixPath(value)) != value or ".." in value.split("/"):
        raise ValueError("an absolute path without `..`, `//` or `/` at its end")
    return value
