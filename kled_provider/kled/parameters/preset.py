"""Data source `kled_preset`: values for several parameters under one name."""

from __future__ import annotations

from kled_provider.plugin.checks import between, one_line
from kled_provider.plugin.planning import with_defaults
from kled_provider.plugin.resource import Context, DataSource
from kled_provider.plugin.schema import (
    NUMBER,
    Block,
    Nesting,
    Schema,
    computed,
    flag,
    map_of,
    optional,
    required,
)
from kled_provider.plugin.values import Values

ATTRIBUTES = (
    required("name", "Name of the preset, as in `--preset NAME`.", check=one_line),
    flag("default", "Whether a form starts with these values."),
    optional("description", "Description."),
    optional("icon", "Path or URL of an icon."),
    optional("parameters", "Values by parameter name.", map_of("string")),
    computed("id", "The name."),
)
SCHEMA = Schema(description="Values for several parameters under one name.", attributes=ATTRIBUTES)

_INSTANCES = required("instances", "How many workspaces would be ready.", NUMBER, check=between(0))
# Workspaces that are made before anybody asks: there are none here.
PREBUILDS = Block(
    name="prebuilds",
    nesting=Nesting.SET,
    max_items=1,
    description="Workspaces to make before anybody asks.",
    ignored="no workspaces are made before somebody asks for one",
    attributes=(_INSTANCES,),
    blocks=(
        Block(
            name="expiration_policy",
            nesting=Nesting.SET,
            max_items=1,
            description="How long they would be kept.",
            attributes=(required("ttl", "Seconds.", NUMBER, check=between(0)),),
        ),
        Block(
            name="scheduling",
            max_items=1,
            description="When there would be how many.",
            attributes=(required("timezone", "As in the tz database."),),
            blocks=(
                Block(
                    name="schedule",
                    min_items=1,
                    description="One rule.",
                    attributes=(
                        required("cron", "When."),
                        _INSTANCES,
                    ),
                ),
            ),
        ),
    ),
)


class PresetData(DataSource):
    """Told to the host, which uses it for the questions before a build."""

    def __init__(self, type_name: str = "kled_preset", schema: Schema = SCHEMA) -> None:
        self.type_name = type_name
        self.schema = schema

    async def read(self, context: Context, config: Values) -> Values:
        """Tell the host of it."""
        declared = {**with_defaults(self.schema, config), "id": config["name"]}
        said = {item.name: declared[item.name] for item in ATTRIBUTES}
        await context.host.tell_preset({**said, "parameters": declared["parameters"] or {}})
        return declared
