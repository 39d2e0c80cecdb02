"""Plans: what is computed, what stays, what forces a new object."""

from __future__ import annotations

from typing import Any

from kled_provider.plugin.planning import plan_change
from kled_provider.plugin.schema import Attribute, Schema
from kled_provider.plugin.values import UNKNOWN

SCHEMA = Schema(
    attributes=(
        Attribute(name="name", required=True, forces_replacement=True),
        Attribute(name="zone", optional=True, computed=True, default="eu"),
        Attribute(name="note", optional=True),
        Attribute(name="id", computed=True),
        Attribute(name="script", computed=True, follows=("note",)),
    )
)
PRIOR = {"name": "a", "zone": "eu", "note": None, "id": "7", "script": "s"}


def config(**values: Any) -> dict[str, Any]:
    return {**dict.fromkeys(SCHEMA.names()), "name": "a", **values}


def test_a_create_has_defaults_and_unknown_values() -> None:
    plan = plan_change(SCHEMA, None, config())
    assert plan.planned == {
        "name": "a",
        "zone": "eu",
        "note": None,
        "id": UNKNOWN,
        "script": UNKNOWN,
    }
    assert plan.requires_replace == ()


def test_without_a_change_everything_stays() -> None:
    assert plan_change(SCHEMA, PRIOR, config()).planned == PRIOR


def test_a_change_in_place_keeps_the_id_but_not_what_follows() -> None:
    plan = plan_change(SCHEMA, PRIOR, config(note="hello"))
    assert plan.planned == {**PRIOR, "note": "hello", "script": UNKNOWN}
    assert plan.requires_replace == ()


def test_what_follows_another_attribute_stays_with_the_rest() -> None:
    assert plan_change(SCHEMA, {**PRIOR, "zone": "us"}, config()).planned["script"] == "s"


def test_taking_a_value_away_brings_the_default_back() -> None:
    plan = plan_change(SCHEMA, {**PRIOR, "zone": "us"}, config())
    assert plan.planned["zone"] == "eu"


def test_a_forcing_change_makes_all_computed_values_unknown() -> None:
    plan = plan_change(SCHEMA, PRIOR, config(name="b"))
    assert plan.requires_replace == (("name",),)
    assert plan.planned == {**PRIOR, "name": "b", "id": UNKNOWN, "script": UNKNOWN}


def test_an_unknown_value_may_be_a_change() -> None:
    assert plan_change(SCHEMA, PRIOR, config(name=UNKNOWN)).requires_replace == (("name",),)
