"""How one key of a runtime-rs configuration is described: type, range, hypervisors, risk.

The tables follow Kata 4.1.0 (src/libs/kata-types/src/config). Kata ignores a key that it does not
know in `[hypervisor.*]` and `[runtime]`, so these tables are what finds a typing error.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from kled_provider.plugin.checks import all_of, at_most, between, matching, one_of
from kled_provider.plugin.schema import BOOL, NUMBER, STRING, Check, Type, list_of

QEMU, CLH, DRAGONBALL, FIRECRACKER = HYPERVISORS = ("qemu", "clh", "dragonball", "firecracker")
U32, U64, I64 = 2**32 - 1, 2**64 - 1, 2**63 - 1
TEXT_CHARACTERS = 65536
_PRINTABLE = all_of(
    at_most(TEXT_CHARACTERS), matching(r"[^\x00-\x08\x0b-\x1f\x7f]*", "text without control codes")
)
LOG_LEVELS = ("trace", "debug", "info", "warn", "error", "critical")


class Risk(enum.Enum):
    """What a template could do with a free choice of the value."""

    NONE = "none"
    # The value names a program, a file, a socket or an argument of one, or confines the VMM less.
    # That may mean root on the host, so only values that the owner's file lists are allowed.
    HOST = "host"


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """One key. `only` are the hypervisors that it does something with.

    `without` says for some of the others what Kata does if it is set all the same.
    """

    name: str
    type: Type
    description: str
    check: Check | None = None
    only: tuple[str, ...] = HYPERVISORS
    without: Mapping[str, str] = field(default_factory=dict)
    risk: Risk = Risk.NONE
    is_file: bool = False  # Kata resolves the path, and refuses the configuration if it is missing

    @property
    def is_dangerous(self) -> bool:
        """Whether only the values that the owner's file lists may be used."""
        return self.risk is Risk.HOST


def switch(name: str, description: str, **more: Any) -> Key:
    """Make a key that is true or false."""
    return Key(name=name, type=BOOL, description=description, **more)


def number(
    name: str, description: str, least: int = 0, most: int = U32, unit: str = "", **more: Any
) -> Key:
    """Make a key that is a whole number within limits."""
    check = between(least, most, unit=unit)
    return Key(name=name, type=NUMBER, description=description, check=check, **more)


def processors(name: str, description: str, **more: Any) -> Key:
    """Make a key that is a number of vCPUs, which need not be whole."""
    return Key(name=name, type=NUMBER, description=description, check=_not_negative, **more)


def text(name: str, description: str, *choices: str, **more: Any) -> Key:
    """Make a key that is a string, one of `choices` if there are any."""
    check = one_of(*choices) if choices else _PRINTABLE
    return Key(name=name, type=STRING, description=description, check=check, **more)


def strings(name: str, description: str, **more: Any) -> Key:
    """Make a key that is a list of strings."""
    return Key(
        name=name, type=list_of(STRING), description=description, check=_short_strings, **more
    )


def host_file(name: str, description: str, **more: Any) -> Key:
    """Make a key that names a file which has to be there."""
    return text(name, description, risk=Risk.HOST, is_file=True, **more)


def host_text(name: str, description: str, **more: Any) -> Key:
    """Make a key whose text reaches a program on the host, or names a place of it."""
    return text(name, description, risk=Risk.HOST, **more)


def host_strings(name: str, description: str, **more: Any) -> Key:
    """Make a key whose texts reach a program on the host, or name places of it."""
    return strings(name, description, risk=Risk.HOST, **more)


def sector_size(name: str, description: str) -> Key:
    """Make a key that is 0 or a power of two from 512 to 65536."""
    return Key(name=name, type=NUMBER, description=description, check=_sector)


def is_off(value: object) -> bool:
    """Whether the value is what an absent key means: it asks for nothing."""
    return value in (None, False, 0, "") or value == []


def _not_negative(value: Any) -> str | None:
    return None if value >= 0 else f"Use 0 or more vCPUs; got {value}."


def _short_strings(value: Any) -> str | None:
    for item in value:
        if not isinstance(item, str):
            return "It holds null."
        problem = _PRINTABLE(item)
        if problem:
            return problem
    return None


def _sector(value: Any) -> str | None:
    if value == 0 or (value == int(value) and 512 <= value <= 65536 and value.bit_count() == 1):
        return None
    return f"Use 0 or a power of two, 512 to 65536 bytes; got {value}."
