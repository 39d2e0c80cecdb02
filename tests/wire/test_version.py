"""Which protocol versions can talk to each other."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from kled_wire.version import PROTOCOL, SOFTWARE_VERSION, is_compatible


@pytest.mark.parametrize("protocol", [PROTOCOL, "1.0", "1.7", "1.99", "1"])
def test_another_minor_version_is_compatible(protocol: str) -> None:
    assert is_compatible(protocol)


@pytest.mark.parametrize("protocol", ["", "0.9", "2.0", "10.0", "one", " 1.0", "-1.0"])
def test_another_major_version_is_not(protocol: str) -> None:
    assert not is_compatible(protocol)


def test_a_distribution_has_the_version_of_the_source() -> None:
    pyproject = Path(__file__).parents[2] / "pyproject.toml"
    assert tomllib.loads(pyproject.read_text())["project"]["version"] == SOFTWARE_VERSION
