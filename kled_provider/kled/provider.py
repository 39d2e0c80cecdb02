"""The list of the `kled` provider's resources and data sources."""

from __future__ import annotations

from kled_provider.kled.agent import AgentResource
from kled_provider.kled.agent_parts import (
    APP,
    ENV,
    METADATA,
    SCRIPT,
    TAGS,
    AppResource,
    ScriptResource,
)
from kled_provider.kled.owner import OwnerData
from kled_provider.kled.parameters.parameter import ParameterData
from kled_provider.kled.parameters.preset import PresetData
from kled_provider.kled.processes.process import ProcessResource
from kled_provider.kled.provisioner import ProvisionerData
from kled_provider.kled.record import EchoData, RecordResource
from kled_provider.kled.workspace import WorkspaceData
from kled_provider.plugin.resource import Provider


def kled_provider() -> Provider:
    """Make the provider; it keeps no state."""
    return Provider(
        name="kled",
        resources=(
            AgentResource(),
            AppResource("kled_app", APP, identity=("agent_id", "slug")),
            RecordResource("kled_env", ENV),
            RecordResource("kled_metadata", METADATA),
            ProcessResource(),
            ScriptResource("kled_script", SCRIPT),
        ),
        data_sources=(
            OwnerData(),
            ParameterData(),
            PresetData(),
            ProvisionerData(),
            EchoData("kled_tags", TAGS),
            WorkspaceData(),
        ),
    )
