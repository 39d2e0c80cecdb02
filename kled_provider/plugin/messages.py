"""Encodes and decodes the requests and responses of tfplugin6 that have several fields.

Field numbers are those of tfplugin6.proto, version 6.8.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal

from kled_provider.grpc import protobuf
from kled_provider.plugin.diagnostics import (
    Diagnostic,
    DiagnosticError,
    encode_diagnostic,
    encode_path,
)
from kled_provider.plugin.planning import ResourcePlan
from kled_provider.plugin.resource import Provider, Resource
from kled_provider.plugin.schema import Schema
from kled_provider.plugin.schema_message import encode_schema
from kled_provider.plugin.values import Values, conform_object, decode_object, encode_value

# ServerCapabilities: get_provider_schema_optional; our schema never depends on anything.
_CAPABILITIES = protobuf.integer(2, 1)


def encode_diagnostics(field: int, diagnostics: Iterable[Diagnostic]) -> bytes:
    """Encode a repeated `Diagnostic` field."""
    return b"".join(protobuf.message(field, encode_diagnostic(d)) for d in diagnostics)


def encode_metadata(provider: Provider) -> bytes:
    """Encode `GetMetadata.Response`."""
    return (
        protobuf.message(1, _CAPABILITIES)
        + b"".join(
            protobuf.message(3, protobuf.text(1, d.type_name)) for d in provider.data_sources
        )
        + b"".join(protobuf.message(4, protobuf.text(1, r.type_name)) for r in provider.resources)
    )


def encode_provider_schema(provider: Provider) -> bytes:
    """Encode `GetProviderSchema.Response`."""
    return (
        protobuf.message(1, encode_schema(provider.schema))
        + b"".join(
            protobuf.entry(2, r.type_name, encode_schema(r.schema)) for r in provider.resources
        )
        + b"".join(
            protobuf.entry(3, d.type_name, encode_schema(d.schema)) for d in provider.data_sources
        )
        + protobuf.message(6, _CAPABILITIES)
    )


def decode_raw_state(request: protobuf.Fields, resource: Resource) -> Values:
    """Return the saved state of `UpgradeResourceState.Request` in terms of today's schema."""
    version, schema = request.integer(2), resource.schema
    if version > schema.version:
        raise DiagnosticError.of(
            "The state was written by a newer provider",
            f"It has schema version {version}; this provider knows {schema.version}. "
            "Upgrade Kled, or restore an older version of the state.",
        )
    try:
        saved = json.loads(protobuf.decode(request.blob(3)).blob(1), parse_float=Decimal)
    except (ValueError, RecursionError) as error:
        raise DiagnosticError.of("The saved state is not JSON", str(error)) from error
    if version < schema.version and isinstance(saved, dict):
        saved = resource.upgrade(version, saved)
    return conform_object(saved, schema)


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """`PlanResourceChange.Request` or `ApplyResourceChange.Request`: both have this shape."""

    prior: Values | None
    target: Values | None  # proposed_new_state or planned_state; None means destroy
    config: Values | None
    private: bytes


def decode_change(request: protobuf.Fields, schema: Schema) -> Change:
    """Decode what is planned or applied."""
    return Change(
        prior=decode_object(request.blob(2), schema),
        target=decode_object(request.blob(3), schema),
        config=decode_object(request.blob(4), schema),
        private=request.blob(5),
    )


def encode_plan(plan: ResourcePlan, private: bytes) -> bytes:
    """Encode `PlanResourceChange.Response`."""
    return (
        protobuf.message(1, encode_value(plan.planned))
        + b"".join(protobuf.message(2, encode_path(path)) for path in plan.requires_replace)
        + protobuf.blob(3, private)
        + encode_diagnostics(4, plan.diagnostics)
    )


def encode_applied(
    state: Values | None, private: bytes, diagnostics: Iterable[Diagnostic]
) -> bytes:
    """Encode `ApplyResourceChange.Response`; a state beside an error is saved all the same."""
    return (
        protobuf.message(1, encode_value(state))
        + protobuf.blob(2, private)
        + encode_diagnostics(3, diagnostics)
    )


def encode_imported(type_name: str, state: Values, private: bytes) -> bytes:
    """Encode `ImportResourceState.Response` with one resource."""
    return protobuf.message(
        1,
        protobuf.text(1, type_name)
        + protobuf.message(2, encode_value(state))
        + protobuf.blob(3, private),
    )
