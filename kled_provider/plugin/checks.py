"""Checks of single values: an attribute's `check` in the schema.

Each returns a sentence that ends with what was given, or None.
"""

from __future__ import annotations

import re
from typing import Any

from kled_provider.plugin.schema import Check


def one_of(*choices: str) -> Check:
    """Make the check that a string is one of a few."""
    wanted = f"{', '.join(choices[:-1])} or {choices[-1]}" if len(choices) > 1 else choices[0]

    def check(value: Any) -> str | None:
        return None if value in choices else f"Use {wanted}; got {value!r}."

    return check


def between(least: float, most: float | None = None, *, unit: str = "") -> Check:
    """Make the check that a number is whole and within limits, both of which are allowed."""
    limits = f"{least} to {most}" if most is not None else f"{least} or more"

    def check(value: Any) -> str | None:
        if value == int(value) and value >= least and (most is None or value <= most):
            return None
        return f"Use a whole number, {limits}{unit and f' {unit}'}; got {value}."

    return check


def matching(pattern: str, wanted: str) -> Check:
    """Make the check that a whole string fits; `wanted` says what to write, as in "Use ..."."""
    compiled = re.compile(pattern)

    def check(value: Any) -> str | None:
        return None if compiled.fullmatch(value) else f"Use {wanted}; got {value!r}."

    return check


def each(check: Check) -> Check:
    """Make the check of a list's strings; null is none."""

    def checked(values: Any) -> str | None:
        found = (check(v) if isinstance(v, str) else "A value in it is null." for v in values)
        return next((problem for problem in found if problem), None)

    return checked


def at_most(characters: int) -> Check:
    """Make the check of a string's length."""

    def check(value: Any) -> str | None:
        if len(value) <= characters:
            return None
        return f"It has {len(value)} characters; at most {characters} are taken."

    return check


def all_of(*checks: Check) -> Check:
    """Make one check of several; the first that finds something speaks."""

    def check(value: Any) -> str | None:
        return next((found for one in checks if (found := one(value))), None)

    return check


def one_line(value: Any) -> str | None:
    """Check that people can read a string and write it on a command line."""
    return (
        None if value.strip() and value.isprintable() else f"Use one line of text; got {value!r}."
    )
