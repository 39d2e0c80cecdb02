"""Data source `kled_workspace`: the workspace that this run of Terraform builds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

from kled_provider.plugin.resource import Context, DataSource
from kled_provider.plugin.schema import NUMBER, Schema, computed, map_of
from kled_provider.plugin.values import Values, conform_object

SCHEMA = Schema(
    description="The workspace that Terraform runs for.",
    attributes=(
        computed("id", "Stable id of the workspace."),
        computed("name", "Name of the workspace, unique for its owner."),
        computed("transition", "`start`, `stop` or `delete`."),
        computed(
            "start_count",
            "1 for a start, else 0: the `count` of resources that a stop removes.",
            NUMBER,
        ),
        computed("owner", "The owner's name."),
        computed("owner_id", "Stable id of the owner."),
        computed("access_url", "URL at which agents reach the coordinator."),
        computed("access_port", "Port in that URL.", NUMBER),
        computed("template_id", "Stable id of the template."),
        computed("template_name", "The template's name."),
        computed("template_version", "The version in use."),
        computed("build_id", "Id of the build that runs."),
        computed(
            "parameters", "The values that the owner chose, by parameter name.", map_of("string")
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

    async def read(self, context: Context, config: Values) -> Values:
        """Ask the host."""
        found = await context.host.workspace()
        url = urlsplit(str(found["access_url"]))
        port = url.port or {"http": 80}.get(url.scheme, 443)
        return conform_object({**found, "access_port": port, **self._besides(found)}, self.schema)
