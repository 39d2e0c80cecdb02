"""Counts of things in messages. Pure."""

from __future__ import annotations


def counted(number: int, noun: str) -> str:
    """A number with a noun, whose plural has an `s`: `1 path`, `2 paths`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
