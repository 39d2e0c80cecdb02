"""A provider with one resource and one data source of every shape that a schema has."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from kled_provider.plugin.checks import between, one_of
from kled_provider.plugin.diagnostics import Diagnostic, Severity
from kled_provider.plugin.planning import with_defaults
from kled_provider.plugin.resource import Context, DataSource, Provider, Resource
from kled_provider.plugin.schema import (
    BOOL,
    NUMBER,
    Attribute,
    Block,
    NestedObject,
    Nesting,
    Schema,
    list_of,
    map_of,
    object_of,
    set_of,
)
from kled_provider.plugin.values import UNKNOWN, Values

PORT = Attribute(name="port", type=NUMBER, required=True, check=between(1, 65535))
PROTOCOL = Attribute(
    name="protocol", optional=True, computed=True, default="tcp", check=one_of("tcp", "udp")
)
INNER = (
    PORT,
    PROTOCOL,
    Attribute(name="note", optional=True),
    Attribute(name="handle", computed=True),
)
EXPIRY = Block(
    name="expiry",
    nesting=Nesting.SINGLE,
    attributes=(Attribute(name="ttl", type=NUMBER, required=True, check=between(0)),),
)


def _nested(name: str, nesting: Nesting) -> Attribute:
    nested = NestedObject(nesting=nesting, attributes=INNER)
    return Attribute(name=name, nested=nested, optional=True)


BODY = (
    Attribute(name="name", required=True, forces_replacement=True),
    Attribute(name="ratio", type=NUMBER, optional=True),
    Attribute(name="tags", type=set_of("string"), optional=True),
    Attribute(name="pairs", type=list_of(object_of({"a": "string", "b": "number"})), optional=True),
    Attribute(name="labels", type=map_of("string"), optional=True, sensitive=True),
    Attribute(name="flag", type=BOOL, optional=True, computed=True, default=True),
    Attribute(name="auth", optional=True, ignored="every agent has a token"),
    Attribute(name="forbidden", optional=True, unsupported="Nothing here can do it."),
    _nested("one", Nesting.SINGLE),
    _nested("many", Nesting.LIST),
    _nested("several", Nesting.SET),
    _nested("named", Nesting.MAP),
    Attribute(name="id", computed=True),
)
BLOCKS = (
    Block(name="listener", attributes=INNER, blocks=(EXPIRY,), max_items=3),
    Block(name="peer", nesting=Nesting.SET, attributes=INNER),
    Block(
        name="limit",
        nesting=Nesting.SET,
        max_items=1,
        attributes=(
            PORT,
            Attribute(name="zone", optional=True, forces_replacement=True),
        ),
    ),
    Block(name="backing", attributes=(Attribute(name="path", required=True),), min_items=1),
)


class Everything(Resource):
    """Keeps nothing but its state; `seen` says what it was asked to do."""

    type_name = "test_everything"
    identity = ("name",)
    schema = Schema(
        version=2,
        attributes=(*BODY, Attribute(name="secret", optional=True, write_only=True)),
        blocks=BLOCKS,
    )

    def __init__(self) -> None:
        self.seen: list[tuple[str, Any]] = []

    async def check_plan(
        self, context: Context, prior: Values | None, planned: Values
    ) -> Iterable[Diagnostic]:
        """Warn of one name, which is known at plan only."""
        if planned["name"] != "odd":
            return ()
        return (Diagnostic(summary="Odd name", path=("name",), severity=Severity.WARNING),)

    async def create(self, context: Context, planned: Values) -> Values:
        """Make it."""
        assert context.config is not None
        self.seen.append(("create", context.config["secret"]))
        context.private["made"] = planned["name"]
        return filled({**planned, "id": "e-1"})

    async def read(self, context: Context, state: Values) -> Values | None:
        """It is as it was."""
        self.seen.append(("read", dict(context.private)))
        return state

    async def update(self, context: Context, prior: Values, planned: Values) -> Values:
        """Change it."""
        self.seen.append(("update", dict(context.private)))
        return filled(planned)

    async def delete(self, context: Context, state: Values) -> None:
        """Remove it."""
        self.seen.append(("delete", dict(context.private)))

    def upgrade(self, version: int, saved: Any) -> Any:
        """Version 1 called the name `title`."""
        return {**saved, "name": saved["title"]} if version == 1 else saved

    async def import_state(self, context: Context, identity: str) -> Values:
        """Import by name."""
        none: Values = dict.fromkeys(self.schema.names())
        blocks: Values = {block.name: [] for block in self.schema.blocks}
        backing = [{"path": "/x"}]
        return {**none, **blocks, "name": identity, "id": "e-1", "flag": True, "backing": backing}


class Reading(DataSource):
    """The same as data."""

    type_name = "test_reading"
    schema = Schema(attributes=BODY, blocks=BLOCKS)

    async def read(self, context: Context, config: Values) -> Values:
        """Return what was asked."""
        return filled({**with_defaults(self.schema, config), "id": "d-1"})


def filled(value: Any) -> Any:
    """Say what is computed within nested objects and blocks."""
    if isinstance(value, dict):
        return {name: filled(item) for name, item in value.items()}
    if isinstance(value, list):
        return [filled(item) for item in value]
    return "h" if value is UNKNOWN else value


def everything_provider() -> Provider:
    """Make it anew."""
    return Provider(name="test", resources=(Everything(),), data_sources=(Reading(),))
