"""The spec of an agent, as values and as what JSON holds."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kled_wire.control.agent_spec import AgentSpec, App, Script, from_plain, to_plain
from kled_wire.errors import ProtocolError
from tests.kit.examples import examples

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)


SPECS = st.builds(AgentSpec, env=st.dictionaries(st.text(max_size=8), st.text(max_size=8)))


@settings(max_examples=examples(30))
@given(SPECS)
def test_a_spec_survives_json(spec: AgentSpec) -> None:
    assert from_plain(json.loads(json.dumps(to_plain(spec)))) == spec


@settings(max_examples=examples(50))
@given(st.dictionaries(st.sampled_from([*to_plain(AgentSpec(build_id=""))]), JSON))
def test_anything_else_is_a_spec_or_an_error(value: dict[str, Any]) -> None:
    with contextlib.suppress(ProtocolError):
        assert isinstance(from_plain(value), AgentSpec)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ([], "AgentSpec is not a map"),
        ({}, "AgentSpec lacks something"),
        ({"build_id": 3}, "AgentSpec has a build_id that is no str"),
        ({"build_id": "b", "order": True}, "AgentSpec has a order that is no int"),
        ({"build_id": "b", "scripts": [{"id": "s"}]}, "Script lacks something"),
    ],
)
def test_what_is_wrong_is_named(value: Any, said: str) -> None:
    with pytest.raises(ProtocolError, match=said):
        from_plain(value)


def test_what_is_newer_is_left_out_and_what_is_older_at_its_default() -> None:
    plain = {"build_id": "b", "scripts": [{"id": "s", "name": "S", "script": "", "new": 1}]}
    expected = AgentSpec(build_id="b", scripts=(Script(id="s", name="S", script=""),))
    assert from_plain(plain) == expected
    assert App(id="a", slug="s", display_name="S").share == "owner"
