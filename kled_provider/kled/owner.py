"""Data source `kled_owner`: the workspace's owner, as far as templates may know.

Nothing here is a secret of theirs: a build mints no credential into a state.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from kled_provider.plugin.resource import Context, DataSource
from kled_provider.plugin.schema import Attribute, Schema, list_of
from kled_provider.plugin.values import Values, conform_object

ATTRIBUTES = (
    Attribute(name="id", computed=True, description="Stable id of the owner."),
    Attribute(name="name", computed=True, description="Login name."),
    Attribute(
        name="email",
        computed=True,
        description="Email address; without one, `NAME@` and the coordinator's host.",
    ),
    Attribute(name="full_name", computed=True, description="Full name; by default the login name."),
    Attribute(
        name="groups",
        type=list_of("string"),
        computed=True,
        description="The owner's groups; always empty, because Kled has no groups.",
    ),
    Attribute(
        name="ssh_public_key",
        computed=True,
        description="The owner's SSH public key; always empty, because Kled makes none.",
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

    async def read(self, context: Context, config: Values) -> Values:  # noqa: ARG002
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
