"""Data source `kled_owner`: the workspace's owner, as far as templates may know.

Nothing here is a secret of theirs: a build mints no credential into a state.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from kled_provider.plugin.resource import Context, DataSource
from kled_provider.plugin.schema import Schema, computed, list_of
from kled_provider.plugin.values import Values, conform_object

ATTRIBUTES = (
    computed("id", "Stable id of the owner."),
    computed("name", "Login name."),
    computed("email", "Email address; without one, `NAME@` and the coordinator's host."),
    computed("full_name", "Full name; by default the login name."),
    computed(
        "groups", "The owner's groups; always empty, because Kled has no groups.", list_of("string")
    ),
    computed(
        "ssh_public_key", "The owner's SSH public key; always empty, because Kled makes none."
    ),
)
SCHEMA = Schema(description="The owner of the workspace.", attributes=ATTRIBUTES)


class OwnerData(DataSource):
    """Tells a template whose workspace it builds; `constant` are attributes that never vary."""

    def __init__(
        self,
        type_name: str = "kled_owner",
        schema: Schema = SCHEMA,
        constant: Values | None = None,
    ) -> None:
        self.type_name = type_name
        self.schema = schema
        self._constant = constant or {}

    async def read(self, context: Context, config: Values) -> Values:
        """Ask the host."""
        found = owner_values(await context.host.workspace())
        return conform_object({**found, **self._constant}, self.schema)


def owner_values(workspace: Any) -> Values:
    """The owner, out of what the host says of the workspace."""
    host = urlsplit(str(workspace["access_url"])).hostname
    return {
        "id": workspace["owner_id"],
        "name": workspace["owner"],
        "email": workspace["owner_email"] or f"{workspace['owner']}@{host}",
        "full_name": workspace["owner"],
        "groups": [],
        "ssh_public_key": "",
    }
