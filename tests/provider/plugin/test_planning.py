"""Plans: what is computed, what stays, what forces a new object."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kled_provider.plugin.planning import plan_change
from kled_provider.plugin.schema import (
    BOOL,
    NUMBER,
    STRING,
    Attribute,
    Body,
    Nesting,
    Schema,
    map_of,
    set_of,
)
from kled_provider.plugin.values import UNKNOWN, conform_object
from tests.kit.examples import examples
from tests.provider.plugin.everything import everything_provider, filled

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


def configs(body: Body) -> st.SearchStrategy[dict[str, Any]]:
    """Every configuration of a body that Terraform would let through."""
    found: dict[str, st.SearchStrategy[Any]] = {}
    for attribute in body.attributes:
        value = of_type(attribute)
        if not attribute.required:
            value = st.none() | value if attribute.is_settable else st.none()
        found[attribute.name] = value
    for block in body.blocks:
        inside = configs(block)
        if block.nesting is Nesting.SINGLE:
            found[block.name] = st.none() | inside
        else:
            most = block.max_items or 3
            found[block.name] = st.lists(inside, min_size=block.min_items, max_size=most)
    return st.fixed_dictionaries(found)


def of_type(attribute: Attribute) -> st.SearchStrategy[Any]:
    nested = attribute.nested
    if nested is not None:
        inside = configs(nested)
        if nested.nesting is Nesting.SINGLE:
            return inside
        if nested.nesting is Nesting.MAP:
            return st.dictionaries(st.sampled_from("ab"), inside, max_size=2)
        return st.lists(inside, max_size=3)
    return TYPES.get(repr(attribute.type), st.just([]))


TYPES: dict[str, st.SearchStrategy[Any]] = {
    repr(STRING): st.sampled_from(["", "a", "b"]),
    repr(NUMBER): st.sampled_from([0, 1, Decimal("0.1")]),
    repr(BOOL): st.booleans(),
    repr(map_of("string")): st.dictionaries(st.sampled_from("ab"), st.sampled_from("xy")),
    repr(set_of("string")): st.lists(st.sampled_from("xyz"), unique=True),
}
EVERYTHING = everything_provider().resources[0].schema


@settings(max_examples=examples(60), suppress_health_check=[HealthCheck.too_slow])
@given(configs(EVERYTHING))
def test_what_was_applied_plans_as_no_change(written: dict[str, Any]) -> None:
    """Whatever the shape: defaults, computed values in sets, and blocks left out."""
    config = conform_object(written, EVERYTHING)
    made = conform_object(filled(plan_change(EVERYTHING, None, config).planned), EVERYTHING)
    again = plan_change(EVERYTHING, made, config)
    assert (again.planned, again.requires_replace) == (made, ())
