"""What we write as TOML, Python's own parser reads back."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kled_provider.kata.runtime_config.toml_text import toml_text

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
VALUES = st.recursive(
    st.one_of(
        st.booleans(),
        st.integers(-(2**63), 2**63 - 1),
        st.floats(allow_nan=False),
        TEXT,
        st.dates(),
        st.times(),
        st.datetimes(),
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(TEXT, inner, max_size=3)),
    max_leaves=12,
)


@given(st.dictionaries(TEXT, VALUES, max_size=4))
def test_what_is_written_is_read_back(config: dict[str, Any]) -> None:
    assert tomllib.loads(toml_text(config)) == config


def test_the_form_is_the_usual_one() -> None:
    config = {
        "hypervisor": {"clh": {"default_vcpus": 0.5, "path": 'a"b\n', "factory": {"x": True}}},
        "mounts": [{"name": "a"}, {"name": "b"}],
        "empty": {},
    }
    assert toml_text(config) == (
        '[hypervisor.clh]\ndefault_vcpus = 0.5\npath = "a\\"b\\n"\n\n[hypervisor.clh.factory]\n'
        'x = true\n\n[[mounts]]\nname = "a"\n\n[[mounts]]\nname = "b"\n\n[empty]\n'
    )


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (2**63, "9223372036854775808 does not fit TOML's whole numbers"),
        (None, "NoneType is no value of TOML"),
        ("\ud800", "a lone surrogate is no character"),
    ],
)
def test_what_toml_cannot_hold_is_refused(value: object, problem: str) -> None:
    with pytest.raises(ValueError, match=f"^{problem}$"):
        toml_text({"a": value})
