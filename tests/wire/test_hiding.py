"""Modules that are hidden while something else is imported."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path

import pytest

from kled_wire.hiding import hidden


def test_a_module_is_hidden_until_the_end_of_the_block(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "optional_part.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    with hidden("optional_part", "json"), pytest.raises(ModuleNotFoundError):
        import_module("optional_part")
    with pytest.raises(ZeroDivisionError), hidden("optional_part"):
        _ = 1 / 0
    with hidden("json"):
        assert import_module("json") is sys.modules["json"]  # it was imported before
    assert import_module("optional_part")
    monkeypatch.delitem(sys.modules, "optional_part")
