"""What a state says is secret."""

from __future__ import annotations

from typing import Any

import pytest

from kled_coord.builds.states.sensitive import sensitive_values


def at(*steps: Any) -> list[dict[str, Any]]:
    """A path as Terraform writes it."""
    return [
        {"type": "get_attr", "value": step}
        if isinstance(step, str)
        else {"type": "index", "value": {"value": step, "type": "number"}}
        for step in steps
    ]


def state(kind: str, attributes: dict[str, Any], *paths: Any) -> dict[str, Any]:
    instance = {"attributes": attributes, "sensitive_attributes": list(paths)}
    return {"resources": [{"mode": "managed", "type": kind, "name": "x", "instances": [instance]}]}


def test_values_are_found_where_the_paths_lead() -> None:
    attributes = {
        "result": "generated",
        "env": {"KEY": "of the env", "N": 1},
        "item": [{"value": "not this"}, {"value": "but this", "more": ["and this"]}],
        # As terraform_data keeps what has no type of its own.
        "input": {"value": {"x": "wrapped value"}, "type": ["object", {"x": "string"}]},
        "plain": "everybody knows",
    }
    paths = (
        at("result"),
        at("env"),
        at("item", 1),
        at("input", "x"),
        at("gone", "x"),
        at("env", 3),
    )
    assert sensitive_values(state("any_thing", attributes, *paths)) == [
        *("generated", "of the env", "but this", "and this", "wrapped value")
    ]


def test_outputs_and_agents_tokens_are_secret_and_scripts_are_not() -> None:
    attributes = {"token": "kled_agent_1", "startup_script": "export A=b\necho done"}
    found = state("coder_agent", attributes, at("startup_script"))
    found["outputs"] = {
        "key": {"value": {"private": "key of it", "short": "yes"}, "sensitive": True},
        "url": {"value": "http://here", "sensitive": False},
    }
    assert sensitive_values(found) == ["key of it", "kled_agent_1"]


@pytest.mark.parametrize("empty", [{}, {"resources": [], "outputs": None}])
def test_nothing_is_secret_in_nothing(empty: dict[str, Any]) -> None:
    assert sensitive_values(empty) == []
