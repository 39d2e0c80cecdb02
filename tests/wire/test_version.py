"""Which protocol versions can talk to each other."""

from __future__ import annotations

import importlib.metadata

import pytest

from kled_wire.version import PROTOCOL, is_compatible, software_version


@pytest.mark.parametrize("protocol", [PROTOCOL, "1.0", "1.7", "1.99", "1"])
def test_another_minor_version_is_compatible(protocol: str) -> None:
    assert is_compatible(protocol)


@pytest.mark.parametrize("protocol", ["", "0.9", "2.0", "10.0", "one", " 1.0", "-1.0"])
def test_another_major_version_is_not(protocol: str) -> None:
    assert not is_compatible(protocol)


def test_an_uninstalled_tree_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    assert software_version() == importlib.metadata.version("kled")

    def missing(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr("kled_wire.version._installed_version", missing)
    assert software_version() == "0+source"
