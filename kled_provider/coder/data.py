"""The data sources `coder_*`. Every credential of the owner in them is empty."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from kled_provider.coder.resources import unused
from kled_provider.kled import owner, workspace
from kled_provider.kled.agent_parts import TAGS
from kled_provider.kled.owner import OwnerData, owner_values
from kled_provider.kled.parameters import parameter, preset
from kled_provider.kled.parameters.parameter import ParameterData
from kled_provider.kled.parameters.preset import PREBUILDS, PresetData
from kled_provider.kled.provisioner import ProvisionerData
from kled_provider.kled.record import EchoData
from kled_provider.kled.workspace import WorkspaceData
from kled_provider.plugin.diagnostics import DiagnosticError
from kled_provider.plugin.resource import Context, DataSource
from kled_provider.plugin.schema import (
    BOOL,
    NUMBER,
    Attribute,
    Schema,
    Type,
    list_of,
    object_of,
)
from kled_provider.plugin.values import Values

_ROLES = list_of(object_of({"name": "string", "org_id": "string"}))
_CREDENTIALS = ("session_token", "oidc_access_token", "ssh_private_key")


def _computed(name: str, of: Type = "string", *, sensitive: bool = False) -> Attribute:
    return Attribute(name=name, type=of, computed=True, sensitive=sensitive)


# Before 2.0 the owner was described by the workspace's own data source.
_OLDER_WORKSPACE = (
    *(_computed(name) for name in ("owner", "owner_id", "owner_name", "owner_email")),
    _computed("owner_groups", list_of("string")),
    _computed("owner_session_token", sensitive=True),
    _computed("owner_oidc_access_token", sensitive=True),
)
_WORKSPACE = Schema(
    description=workspace.SCHEMA.description,
    attributes=(
        *(
            a
            for a in workspace.SCHEMA.attributes
            if not a.name.startswith("owner") and a.name not in ("build_id", "parameters")
        ),
        _computed("is_prebuild", BOOL),
        _computed("is_prebuild_claim", BOOL),
        _computed("prebuild_count", NUMBER),
        *_OLDER_WORKSPACE,
    ),
)
_OWNER = Schema(
    description=owner.SCHEMA.description,
    attributes=(
        *owner.ATTRIBUTES,
        *(_computed(name, sensitive=True) for name in _CREDENTIALS),
        _computed("login_type"),
        _computed("rbac_roles", _ROLES),
    ),
)


def _older_workspace(found: Mapping[str, Any]) -> Values:
    who = owner_values(found)
    return {
        "is_prebuild": False,
        "is_prebuild_claim": False,
        "prebuild_count": 0,
        "owner_name": who["full_name"],
        "owner_email": who["email"],
        "owner_groups": who["groups"],
        "owner_session_token": "",
        "owner_oidc_access_token": "",
    }


class ExternalAuthData(DataSource):
    """A token of another service: there is none, which only an optional one survives."""

    schema = Schema(
        description="An access token for another service; always empty.",
        attributes=(
            Attribute(name="id", required=True),
            Attribute(name="optional", type=BOOL, optional=True),
            _computed("access_token", sensitive=True),
        ),
    )

    def __init__(self, type_name: str) -> None:
        self.type_name = type_name

    async def read(self, context: Context, config: Values) -> Values:
        """Give nothing; without `optional` that is an error for a start."""
        transition = (await context.host.workspace())["transition"]
        if config["optional"] is not True and transition == "start":
            raise DiagnosticError.of(
                f"There is no access token for {config['id']}",
                "Kled holds no tokens of other services. Set optional = true, and log in inside "
                "of the workspace.",
                path=("id",),
            )
        return {**config, "access_token": ""}


def coder_data_sources() -> tuple[DataSource, ...]:
    """Make them all."""
    task = Schema(
        description="A task that a workspace was made for; there is none.",
        attributes=(_computed("id"), _computed("enabled", BOOL), _computed("prompt")),
    )
    secret = Schema(
        description="A secret of the owner's; always empty.",
        attributes=(
            unused("help_message", "there are no secrets of owners", required=True),
            Attribute(name="env", optional=True),
            Attribute(name="file", optional=True),
            _computed("id"),
            _computed("value", sensitive=True),
        ),
    )
    older = tuple(
        unused(name, "a parameter has one name")
        for name in ("legacy_variable", "legacy_variable_name")
    )
    parameters = replace(parameter.SCHEMA, attributes=(*parameter.SCHEMA.attributes, *older))
    nobody = {"login_type": "password", "rbac_roles": [], **dict.fromkeys(_CREDENTIALS, "")}
    return (
        ExternalAuthData("coder_external_auth"),
        ExternalAuthData("coder_git_auth"),
        ParameterData("coder_parameter", parameters),
        ProvisionerData("coder_provisioner"),
        EchoData("coder_secret", secret, {"id": "", "value": ""}),
        EchoData("coder_task", task, {"id": "", "enabled": False, "prompt": ""}),
        WorkspaceData("coder_workspace", _WORKSPACE, _older_workspace),
        OwnerData("coder_workspace_owner", _OWNER, nobody),
        PresetData("coder_workspace_preset", replace(preset.SCHEMA, blocks=(PREBUILDS,))),
        EchoData("coder_workspace_tags", TAGS),
    )
