"""Where a diagnostic points: at what Terraform finds a line for."""

from __future__ import annotations

from typing import Any

import pytest

from kled_provider.plugin.diagnostics import Diagnostic, MapKey, Path
from kled_provider.plugin.schema import Attribute, Block, Nesting, Schema, list_of, map_of
from kled_provider.plugin.validation import at_lines

INNER = (Attribute(name="a", optional=True), Attribute(name="b", optional=True))
SCHEMA = Schema(
    attributes=(
        Attribute(name="list", type=list_of("string"), optional=True),
        Attribute(name="map", type=map_of("string"), optional=True),
    ),
    blocks=(
        Block(name="one", nesting=Nesting.SINGLE, attributes=INNER),
        Block(name="many", attributes=INNER, blocks=(Block(name="deep", attributes=INNER),)),
        Block(name="set", nesting=Nesting.SET, attributes=INNER),
    ),
)
CONFIG: dict[str, Any] = {
    "list": ["x"],
    "map": {"k": "v"},
    "one": {"a": None, "b": "set"},
    "many": [
        {"a": None, "b": None, "deep": []},
        {"a": "set", "b": "set", "deep": [{"a": None, "b": "set"}]},
    ],
    "set": [{"a": "set", "b": None}],
}


@pytest.mark.parametrize(
    ("path", "at"),
    [
        ((), ()),
        (("list",), ("list",)),
        (("list", 0), ("list", 0)),
        (("map", MapKey("k"), 3), ("map", MapKey("k"))),
        (("one",), ("one", "b")),
        (("one", "a"), ("one", "a")),
        (("many",), ("many",)),
        (("many", 0), ("many", 0)),
        (("many", 1), ("many", 1, "a")),
        (("many", 1, "deep", 0), ("many", 1, "deep", 0, "b")),
        (("many", 7), ("many", 7)),
        (("set",), ("set",)),
    ],
)
def test_a_block_is_shown_by_the_first_attribute_that_is_set(path: Path, at: Path) -> None:
    (found,) = at_lines(SCHEMA, CONFIG, [Diagnostic(summary="x", path=path)])
    assert found.path == at
