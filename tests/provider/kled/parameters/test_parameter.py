"""A parameter as it is read: what the last build had binds while the template has room for it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from kled_provider.kled.parameters.parameter import SCHEMA, ParameterData
from kled_provider.kled.parameters.preset import SCHEMA as PRESET
from kled_provider.kled.parameters.preset import PresetData
from kled_provider.plugin.resource import Context
from kled_provider.plugin.values import conform_object


class AskingHost:
    """A workspace with values, and what it is told."""

    def __init__(self, chosen: str, previous: str) -> None:
        self._parameters = {"parameters": {"p": chosen}, "previous_parameters": {"p": previous}}
        self.error: str | None = None

    async def workspace(self) -> Mapping[str, Any]:
        return self._parameters

    async def tell_parameter(self, parameter: Mapping[str, Any]) -> bool:
        self.error = parameter["error"]
        return True


async def _error(chosen: str, previous: str, **declared: Any) -> str:
    host = AskingHost(chosen, previous)
    config = conform_object({"name": "p", **declared}, SCHEMA)
    context = Context(host=host, keep=lambda _values: None)  # type: ignore[arg-type]  # part of one
    await ParameterData().read(context, config)
    return host.error or ""


EU = {"option": [{"name": "EU", "value": "eu"}, {"name": "Asia", "value": "asia"}]}
LOWER = {"validation": [{"regex": "^[a-z]+$", "error": "lower-case letters"}]}
GROWS = {"type": "number", "mutable": True}


@pytest.mark.parametrize(
    ("chosen", "previous", "declared", "error"),
    [
        ("asia", "eu", EU, "cannot be changed"),
        ("eu", "us", EU, ""),
        ("us", "us", EU, "not one of the options"),
        ("7", "large", {"type": "number"}, ""),
        ("abc", "ABC", LOWER, ""),
        ("abc", "abd", LOWER, "cannot be changed"),
        ("7", "8", {**GROWS, "validation": [{"max": 9, "monotonic": "increasing"}]}, "only grow"),
        ("9", "50", {**GROWS, "validation": [{"max": 9, "monotonic": "increasing"}]}, ""),
    ],
)
async def test_what_no_longer_fits_can_be_changed(
    chosen: str, previous: str, declared: dict[str, Any], error: str
) -> None:
    found = await _error(chosen, previous, **declared)
    assert error in found
    assert bool(error) == bool(found)


async def test_what_was_kept_is_no_value_of_an_ephemeral_one() -> None:
    once = {"name": "p", "mutable": True, "ephemeral": True, "default": "no"}
    config = conform_object(once, SCHEMA)
    for chosen, value in (("kept", "no"), ("now", "now")):
        context = Context(host=AskingHost(chosen, "kept"), keep=lambda _values: None)  # type: ignore[arg-type]  # part of one
        assert (await ParameterData().read(context, config))["value"] == value


@pytest.mark.parametrize("name", ["", " ", "a\nb", "a\x1b[31mb", "\u2028"])
def test_a_name_is_one_line_of_text(name: str) -> None:
    parameter = ParameterData().validate(conform_object({"name": name}, SCHEMA))
    preset = PresetData().validate(conform_object({"name": name}, PRESET))
    assert [found.path for found in (*parameter, *preset)] == [("name",), ("name",)]


@pytest.mark.parametrize("name", ["a", "Docker image", "größe", "a=b", "7"])
def test_whatever_people_can_read_is_a_name(name: str) -> None:
    assert ParameterData().validate(conform_object({"name": name}, SCHEMA)) == []
    assert PresetData().validate(conform_object({"name": name}, PRESET)) == []
