"""Counts of things in messages."""

from __future__ import annotations

import pytest

from kled_wire.counting import counted


@pytest.mark.parametrize(("number", "said"), [(0, "0 paths"), (1, "1 path"), (2, "2 paths")])
def test_one_is_no_plural(number: int, said: str) -> None:
    assert counted(number, "path") == said
