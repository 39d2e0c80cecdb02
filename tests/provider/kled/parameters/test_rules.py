"""Declarations and values of parameters: what is right, and what is said of the rest."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kled_provider.kled.parameters.parameter import SCHEMA
from kled_provider.kled.parameters.rules import (
    FORM_TYPES,
    TYPES,
    declaration_problems,
    form_of,
    plain_declaration,
    usable_value,
    value_problem,
)
from kled_provider.plugin.planning import with_defaults
from kled_provider.plugin.values import UNKNOWN, conform_object


def config(**values: Any) -> dict[str, Any]:
    return conform_object({"name": "p", **values}, SCHEMA)


def options(*values: Any) -> list[dict[str, Any]]:
    return [{"name": f"{i}", "value": value} for i, value in enumerate(values)]


def problem(value: str | None, previous: str | None = None, /, **declared: Any) -> str | None:
    return value_problem(with_defaults(SCHEMA, config(**declared)), value, previous, matches=True)


@pytest.mark.parametrize(
    "declared",
    [
        {},
        {"type": "number", "default": "4", "validation": [{"min": 1, "max": 8}]},
        {"type": "bool", "default": "true", "form_type": "switch"},
        {"type": "list(string)", "default": '["a"]', "form_type": "tag-select"},
        {"default": "b", "option": options("a", "b")},
        {
            "type": "list(string)",
            "form_type": "multi-select",
            "default": '["a", "b"]',
            "option": options("a", "b", "c"),
        },
        {"type": "list(string)", "default": '["a"]', "option": options('["a"]', '["b"]')},
        {"ephemeral": True, "mutable": True, "default": ""},
        {"validation": [{"regex": "^a", "error": "begin with a"}]},
        {"default": UNKNOWN, "option": [{"name": "x", "value": UNKNOWN}]},
        {"type": UNKNOWN, "default": "x"},
        {"option": UNKNOWN, "default": "x"},
        {"validation": [{"min": UNKNOWN, "max": 1}], "type": "number"},
        {"form_type": "error"},
    ],
)
def test_what_is_right_passes(declared: dict[str, Any]) -> None:
    assert declaration_problems(config(**declared)) == []


@pytest.mark.parametrize(
    ("declared", "path", "said"),
    [
        ({"type": "number", "default": "x"}, ("default",), "'x' is not a number."),
        *(
            ({"type": "number", "default": odd}, ("default",), f"{odd!r} is not a number.")
            for odd in ("nan", "1_000", " 1", "٣", "1\n", "1e9999", "")
        ),
        ({"type": "bool", "default": "1"}, ("default",), "neither true nor false"),
        ({"type": "list(string)", "default": "a"}, ("default",), "not a JSON list of strings"),
        ({"default": "c", "option": options("a", "b")}, ("default",), "one of the options: a, b."),
        ({"option": options("a", "a")}, ("option", 1, "value"), "Another option has the value"),
        ({"type": "number", "option": options("x")}, ("option", 0, "value"), "not a number"),
        ({"option": options(*map(str, range(65)))}, ("option", 64), "at most 64"),
        ({"ephemeral": True, "default": ""}, ("ephemeral",), "mutable = true"),
        ({"ephemeral": True, "mutable": True}, ("ephemeral",), "nobody chooses one"),
        ({"validation": [{"min": 1}]}, ("validation", 0, "min"), "this is a string"),
        (
            {"type": "number", "validation": [{"min": 2, "max": 1}]},
            ("validation", 0, "max"),
            "less than min, which is 2",
        ),
        (
            {"type": "number", "validation": [{"monotonic": "up"}]},
            ("validation", 0, "monotonic"),
            "increasing or decreasing",
        ),
        (
            {"validation": [{"regex": "(", "error": "x"}]},
            ("validation", 0, "regex"),
            "not a regular expression",
        ),
        ({"validation": [{"regex": "a"}]}, ("validation", 0, "regex"), "Say with `error`"),
        ({"type": "number", "form_type": "checkbox"}, ("form_type",), "input or slider"),
    ],
)
def test_a_mistake_is_told_where_it_is(declared: dict[str, Any], path: Any, said: str) -> None:
    (found,) = declaration_problems(config(**declared))
    assert found.path == path
    assert said in found.detail


def test_values_are_held_to_type_options_and_limits() -> None:
    limits = {"type": "number", "validation": [{"min": 1, "max": 8}]}
    assert problem("4", **limits) is None
    assert problem("0.5", **limits) == "0.5 is less than 1."
    assert problem("9", **limits) == "9 is more than 8."
    assert problem("x", **limits) == "'x' is not a number."
    assert problem("c", option=options("a", "b")) == "'c' is not one of the options: a, b."
    several = {"type": "list(string)", "form_type": "multi-select", "option": options("a", "b")}
    assert problem('["a"]', **several) is None
    assert problem('["a", "c"]', **several) == "'c' is not one of the options: a, b."
    assert problem(None) == "A value is needed: there is no default."


def test_what_depends_on_a_wrong_value_is_evaluated_with_one_that_could_be() -> None:
    def usable(value: str | None, **declared: Any) -> str:
        return usable_value(with_defaults(SCHEMA, config(**declared)), value)

    limits = {"type": "number", "validation": [{"min": 1, "max": 8}]}
    assert usable("9", **limits) == "9"
    assert usable("x", **limits) == "0"
    assert usable("x", default="3", **limits) == "3"
    assert usable("c", option=options("a", "b")) == "a"
    assert usable(None, option=options("a", "b"), default="b") == "b"
    several = {"type": "list(string)", "form_type": "multi-select", "option": options("a")}
    assert usable("a", **several) == "[]"
    assert usable("yes", type="bool") == "false"
    assert usable(None) == ""


def test_the_authors_words_come_first() -> None:
    error = "Between {min} and {max}, not {value}"
    rule = [{"min": 1, "max": 8, "error": error}]
    assert problem("9", type="number", validation=rule) == "Between 1 and 8, not 9"
    # What a person chose is never read as a place to fill in.
    declared = with_defaults(SCHEMA, config(validation=[{"regex": "x", "error": "not {value}"}]))
    assert value_problem(declared, "{min}", None, matches=False) == "not {min}"


def test_a_number_goes_one_way_only() -> None:
    rule = {"type": "number", "mutable": True, "validation": [{"monotonic": "increasing"}]}
    assert problem("5", "4", **rule) is None
    assert problem("4", None, **rule) is None
    assert "was 4, and 3 is less" in (problem("3", "4", **rule) or "")
    rule["validation"] = [{"monotonic": "decreasing"}]
    assert "was 4, and 5 is more" in (problem("5", "4", **rule) or "")
    assert problem("5", "of another type", **rule) is None


def test_what_is_not_mutable_stays() -> None:
    assert problem("a", "a") is None
    assert "cannot be changed: it is 'a'" in (problem("b", "a") or "")
    assert problem("b", "a", mutable=True) is None


@given(st.sampled_from(TYPES), st.text(max_size=20))
def test_any_text_is_a_value_or_a_sentence(kind: str, value: str) -> None:
    found = problem(value, type=kind, validation=[{}])
    assert found is None or found.endswith(".")


@pytest.mark.parametrize("kind", TYPES)
def test_nothing_of_a_type_is_a_value_of_it(kind: str) -> None:
    nothing = usable_value(with_defaults(SCHEMA, config(type=kind)), None)
    assert problem(nothing, type=kind) is None
    assert form_of(config(type=kind)) in FORM_TYPES
    assert form_of(config(type=kind, option=options(nothing))) == "radio"


def test_what_the_host_is_told_is_json() -> None:
    declared = with_defaults(SCHEMA, config(type="number", validation=[{"min": 1.5}]))
    told = plain_declaration({**declared, "id": None, "optional": None, "value": None})
    assert json.loads(json.dumps(told, default=str))["validation"]["min"] == 1.5
