"""The `Schema` message of tfplugin6.proto, version 6.8."""

from __future__ import annotations

import json
from typing import Final

from kled_provider.grpc import protobuf
from kled_provider.plugin.schema import Attribute, Block, Body, NestedObject, Nesting, Schema

# `Schema.NestedBlock.NestingMode` and `Schema.Object.NestingMode` agree as far as this goes.
_NESTING: Final = {Nesting.SINGLE: 1, Nesting.LIST: 2, Nesting.SET: 3, Nesting.MAP: 4}


def encode_schema(schema: Schema) -> bytes:
    """Encode a `Schema` message."""
    block = (
        protobuf.integer(1, schema.version)
        + _encode_body(schema)
        + protobuf.text(4, schema.description)
    )
    return protobuf.integer(1, schema.version) + protobuf.message(2, block)


def _encode_body(body: Body) -> bytes:
    return b"".join(protobuf.message(2, _encode_attribute(a)) for a in body.attributes) + b"".join(
        protobuf.message(3, _encode_block(b)) for b in body.blocks
    )


def _encode_attribute(attribute: Attribute) -> bytes:
    nested = attribute.nested
    return (
        protobuf.text(1, attribute.name)
        + (b"" if nested else protobuf.blob(2, json.dumps(attribute.type).encode()))
        + protobuf.text(3, attribute.description)
        + protobuf.integer(4, attribute.required)
        + protobuf.integer(5, attribute.optional)
        + protobuf.integer(6, attribute.computed)
        + protobuf.integer(7, attribute.sensitive)
        + (protobuf.message(10, _encode_object(nested)) if nested else b"")
        + protobuf.integer(11, attribute.write_only)
    )


def _encode_object(nested: NestedObject) -> bytes:
    return b"".join(
        protobuf.message(1, _encode_attribute(a)) for a in nested.attributes
    ) + protobuf.integer(3, _NESTING[nested.nesting])


def _encode_block(block: Block) -> bytes:
    return (
        protobuf.text(1, block.name)
        + protobuf.message(2, _encode_body(block) + protobuf.text(4, block.description))
        + protobuf.integer(3, _NESTING[block.nesting])
        + protobuf.integer(4, block.min_items)
        + protobuf.integer(5, block.max_items)
    )
