"""Names of agents: from a plan, and two of one name."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kled_coord.terraform.source.agents import (
    is_agent,
    name_of_label,
    planned_agents,
    refuse_shared_names,
)
from kled_wire.errors import InputError


@pytest.mark.parametrize(
    ("address", "is_one"),
    [
        ("kled_agent.main", True),
        ("coder_agent.x[0]", True),
        ('module.a["x.y"].module.b.coder_agent.x["k.[z]"]', True),
        ("coder_agent_instance.x", False),
        ("data.coder_agent.x.y", False),
        ("docker_container.kled_agent", False),
        ("module.kled_agent.null_resource.x", False),
    ],
)
def test_an_agent_is_known_by_its_address(address: str, is_one: bool) -> None:
    assert is_agent(address) is is_one


def _resource(kind: str, name: str, **more: object) -> dict[str, object]:
    return {"mode": "managed", "type": kind, "name": name, "address": f"{kind}.{name}", **more}


def test_agents_are_named_as_their_template_says_or_after_their_resource() -> None:
    module = {
        "resources": [
            _resource("kled_agent", "a", values={"name": "dev"}),
            _resource("kled_agent", "unknown", values={}),
            _resource("coder_agent", "My_Dev", values={}, index="a b"),
            _resource("null_resource", "x", values={}),
            {**_resource("coder_agent", "data"), "mode": "data"},
        ],
        "child_modules": [{"resources": [_resource("coder_agent", "main")]}, {}],
    }
    plan = {"planned_values": {"root_module": module}}
    assert planned_agents(json.dumps(plan).encode()) == [
        ("dev", "kled_agent.a"),
        ("main", "coder_agent.main"),
        ("my-dev-a-b", "coder_agent.My_Dev"),
    ]


@given(st.binary(max_size=60) | st.sampled_from([b"{}", b"[]", b'{"planned_values": 1}']))
def test_what_is_no_plan_has_no_agents(document: bytes) -> None:
    assert planned_agents(document) == []


@given(st.text(max_size=80))
def test_a_name_is_one_that_a_host_name_can_hold(label: str) -> None:
    name = name_of_label(label)
    assert 0 < len(name) <= 32
    assert name.isascii()
    assert not name.startswith("-")
    assert not name.endswith("-")
    assert name_of_label(name) == name


def test_the_second_of_one_name_is_refused_with_its_place() -> None:
    refuse_shared_names([("a", "x.a"), ("b", "x.b")])
    with pytest.raises(InputError, match=r"^main\.tf:3: two agents are called a: x\.a and x\.b$"):
        refuse_shared_names([("a", "x.a"), ("a", "x.b")], {"x.b": "main.tf:3"})
    with pytest.raises(InputError, match=r"^two agents are called a"):
        refuse_shared_names([("a", "x.a"), ("a", "x.b")], {"x.b": ""})
