"""How a resource describes its attributes, and the `Schema` message Terraform gets of it.

Types are written as in cty's JSON (https://github.com/zclconf/go-cty/blob/main/docs/json.md):
`"string"`, `"number"`, `"bool"`, `["list", T]`, `["set", T]`, `["map", T]`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from kled_provider.plugin import protobuf

Type = str | tuple[str, "Type"]

STRING: Type = "string"
NUMBER: Type = "number"
BOOL: Type = "bool"


def list_of(element: Type) -> Type:
    """Return the type of a list."""
    return ("list", element)


def map_of(element: Type) -> Type:
    """Return the type of a map."""
    return ("map", element)


@dataclass(frozen=True, slots=True, kw_only=True)
class Attribute:
    """One attribute. Set by the person (required, optional), by us (computed), or either."""

    name: str
    type: Type = STRING
    description: str = ""
    required: bool = False
    optional: bool = False
    computed: bool = False
    sensitive: bool = False
    default: object = None  # for optional + computed: what an unset one is planned as
    forces_replacement: bool = False  # a change means a new object
    follows_others: bool = False  # computed: may change whenever another attribute does

    def __post_init__(self) -> None:
        if self.required == (self.optional or self.computed):
            raise ValueError(f"{self.name}: either required, or optional and/or computed")
        if self.default is not None and not (self.optional and self.computed):
            raise ValueError(f"{self.name}: only an optional and computed attribute has a default")


@dataclass(frozen=True, slots=True, kw_only=True)
class Schema:
    """The attributes of a resource, a data source or the provider block."""

    attributes: tuple[Attribute, ...] = ()
    description: str = ""
    version: int = 0

    def names(self) -> list[str]:
        """Return the names of all attributes."""
        return [attribute.name for attribute in self.attributes]


def encode_schema(schema: Schema) -> bytes:
    """Encode a `Schema` message."""
    block = (
        protobuf.integer(1, schema.version)
        + b"".join(protobuf.message(2, _encode_attribute(a)) for a in schema.attributes)
        + protobuf.text(4, schema.description)
    )
    return protobuf.integer(1, schema.version) + protobuf.message(2, block)


def _encode_attribute(attribute: Attribute) -> bytes:
    return (
        protobuf.text(1, attribute.name)
        + protobuf.blob(2, json.dumps(attribute.type).encode())
        + protobuf.text(3, attribute.description)
        + protobuf.integer(4, attribute.required)
        + protobuf.integer(5, attribute.optional)
        + protobuf.integer(6, attribute.computed)
        + protobuf.integer(7, attribute.sensitive)
    )
