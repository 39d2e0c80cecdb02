"""Floors of dependencies below a known hole are found."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

FLOORS = Path(__file__).parent.parent / "scripts" / "floors.py"


@pytest.fixture
def floors() -> ModuleType:
    spec = importlib.util.spec_from_file_location("floors", FLOORS)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_ours_are_above_all_known_holes(floors: ModuleType) -> None:
    assert floors.main() == 0


@pytest.mark.parametrize("low", ["h11>=0.14", "h11", "h11<1"])
def test_a_low_floor_is_named_with_the_hole(floors: ModuleType, low: str) -> None:
    project = {"dependencies": [low], "optional-dependencies": {}}
    [line] = floors.find_low(project, {"h11": ["0.16", "CVE-2025-43859"]})
    assert "CVE-2025-43859" in line
    [line] = floors.find_low({**project, "dependencies": []}, {"h11": ["99", "a hole"]})
    assert line.startswith("installed: h11 ")
