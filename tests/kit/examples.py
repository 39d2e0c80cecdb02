"""How many of hypothesis's examples a test has that needs more or fewer than the others."""

from __future__ import annotations

from hypothesis import settings


def examples(count: int) -> int:
    """`count` of them in a run of all tests, and a fast run's part of it in a fast one."""
    return max(1, count * settings().max_examples // 100)
