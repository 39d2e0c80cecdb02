"""Schemas: what cannot be one, and the message of one."""

from __future__ import annotations

from typing import Any

import pytest

from kled_provider.grpc import protobuf
from kled_provider.kled.provider import kled_provider
from kled_provider.plugin import messages
from kled_provider.plugin.schema import Attribute, Schema, list_of, map_of
from kled_provider.plugin.schema_message import encode_schema


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"required": True, "optional": True},
        {"required": True, "computed": True},
        {"optional": True, "default": "x"},
        {"computed": True, "default": "x", "required": True},
        {"optional": True, "computed": True, "write_only": True},
    ],
)
def test_contradictions_are_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="a: "):
        Attribute(name="a", **fields)


def test_types_are_written_as_json() -> None:
    schema = Schema(
        version=3,
        attributes=(
            Attribute(name="a", type=list_of(map_of("bool")), optional=True, sensitive=True),
        ),
    )
    fields = protobuf.decode(encode_schema(schema))
    assert fields.integer(1) == 3
    attribute = protobuf.decode(protobuf.decode(fields.blob(2)).blob(2))
    assert attribute.blob(2) == b'["list", ["map", "bool"]]'
    assert [attribute.integer(n) for n in (4, 5, 6, 7)] == [0, 1, 0, 1]


def test_the_provider_offers_its_resources_by_name() -> None:
    fields = protobuf.decode(messages.encode_provider_schema(kled_provider()))
    names = [protobuf.decode(entry).text(1) for n in (2, 3) for entry in fields.blobs(n)]
    assert sorted(names) == [
        "kled_agent",
        "kled_app",
        "kled_env",
        "kled_metadata",
        "kled_owner",
        "kled_parameter",
        "kled_preset",
        "kled_process",
        "kled_provisioner",
        "kled_script",
        "kled_tags",
        "kled_workspace",
    ]


def test_every_attribute_is_described() -> None:
    provider = kled_provider()
    schemas = [r.schema for r in provider.resources] + [d.schema for d in provider.data_sources]
    assert [a.name for schema in schemas for a in schema.items() if not a.description] == []


def test_secrets_are_marked() -> None:
    provider = kled_provider()
    marked = {a.name for r in provider.resources for a in r.schema.attributes if a.sensitive}
    assert marked == {"token", "env_sensitive"}
