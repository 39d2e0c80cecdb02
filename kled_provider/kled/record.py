"""Resources that only describe the workspace, and data sources that only repeat their input.

They exist only in the state, from which the coordinator reads them when the build has succeeded.
"""

from __future__ import annotations

import uuid

from kled_provider.plugin.planning import with_defaults
from kled_provider.plugin.resource import Context, DataSource, Resource
from kled_provider.plugin.schema import Schema
from kled_provider.plugin.values import Values, settled


class RecordResource(Resource):
    """Keeps its configuration, under an id of its own."""

    def __init__(self, type_name: str, schema: Schema, *, identity: tuple[str, ...] = ()) -> None:
        self.type_name = type_name
        self.schema = schema
        self.identity = identity

    async def create(self, context: Context, planned: Values) -> Values:
        """Give it an id."""
        return settled({**planned, "id": str(uuid.uuid4())})

    async def read(self, context: Context, state: Values) -> Values | None:
        """It is as the state has it."""
        return state

    async def update(self, context: Context, prior: Values, planned: Values) -> Values:
        """It is as planned."""
        return settled(planned)

    async def delete(self, context: Context, state: Values) -> None:
        """There is nothing to remove."""


class EchoData(DataSource):
    """Gives back what was asked, with defaults; what is computed besides is empty."""

    def __init__(self, type_name: str, schema: Schema, computed: Values | None = None) -> None:
        self.type_name = type_name
        self.schema = schema
        self._computed = computed or {}

    async def read(self, context: Context, config: Values) -> Values:
        """Repeat the configuration."""
        return settled({**with_defaults(self.schema, config), **self._computed})
