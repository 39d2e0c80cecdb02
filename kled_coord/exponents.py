"""Finds the numbers that Terraform would be busy with for minutes. No I/O.

Terraform writes all digits of a number wherever it passes it on, so the exponent is what matters.
"""

from __future__ import annotations

import re
from typing import Final

# Far more than a double has, and still written at once.
EXPONENT_DIGITS_MAX: Final = 4
_EXPONENT: Final = re.compile(r"(?<=[0-9.])[eE][+-]?[0-9]+")


def is_huge(number: str) -> bool:
    """Whether the exponent of a number has too many digits, leading zeros not counted."""
    return len(number.lower().partition("e")[2].lstrip("+-0")) > EXPONENT_DIGITS_MAX


def has_huge_number(text: str) -> bool:
    """Whether such a number stands anywhere in a text, as in a list of numbers."""
    return any(is_huge(found[0]) for found in _EXPONENT.finditer(text))
