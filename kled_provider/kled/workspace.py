"""Data source `kled_workspace`: the workspace that this run of Terraform builds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

from kled_provider.plugin.resource import Context, DataSource
from kled_provider.plugin.schema import NUMBER, Attribute, Schema, map_of
from kled_provider.plugin.values import Values, conform_object

SCHEMA = Schema(
    description="The workspace that Terraform runs for.",
    attributes=(
        Attribute(name="id", computed=True, description="Stable id of the workspace."),
        Attribute(
            name="name", computed=True, description="Name of the workspace, unique for its owner."
        ),
        Attribute(name="transition", computed=True, description="`start`, `stop` or `delete`."),
        Attribute(
            name="start_count",
            type=NUMBER,
            computed=True,
            description="1 for a start, else 0: the `count` of resources that a stop removes.",
        ),
        Attribute(name="owner", computed=True, description="The owner's name."),
        Attribute(name="owner_id", computed=True, description="Stable id of the owner."),
        Attribute(
            name="access_url",
            computed=True,
            description="URL at which agents reach the coordinator.",
        ),
        Attribute(name="access_port", type=NUMBER, computed=True, description="Port in that URL."),
        Attribute(name="template_id", computed=True, description="Stable id of the template."),
        Attribute(name="template_name", computed=True, description="The template's name."),
        Attribute(name="template_version", computed=True, description="The version in use."),
        Attribute(name="build_id", computed=True, description="Id of the build that runs."),
        Attribute(
            name="parameters",
            type=map_of("string"),
            computed=True,
            description="The values that the owner chose, by parameter name.",
        ),
    ),
)


class WorkspaceData(DataSource):
    """Tells a template whose workspace it builds and what to do with it."""

    def __init__(
        self,
        type_name: str = "kled_workspace",
        schema: Schema = SCHEMA,
        besides: Callable[[Mapping[str, Any]], Values] = lambda _workspace: {},
    ) -> None:
        """`besides` makes more of the schema's attributes out of what the host says."""
        self.type_name = type_name
        self.schema = schema
        self._besides = besides

    async def read(self, context: Context, config: Values) -> Values:  # noqa: ARG002
        """Ask the host."""
        found = await context.host.workspace()
        url = urlsplit(str(found["access_url"]))
        port = url.port or {"http": 80}.get(url.scheme, 443)
        return conform_object({**found, "access_port": port, **self._besides(found)}, self.schema)
