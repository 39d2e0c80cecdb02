"""All of the `kled` provider."""

from __future__ import annotations

from kled_provider.kled.agent import AgentResource
from kled_provider.kled.parameter import Parameter
from kled_provider.kled.preset import Preset
from kled_provider.kled.process import ProcessResource
from kled_provider.kled.workspace import WorkspaceResource
from kled_provider.plugin.resource import Provider


def kled_provider() -> Provider:
    """Make the provider; it keeps no state."""
    return Provider(
        name="kled",
        resources=(AgentResource(), ProcessResource()),
        data_sources=(Parameter(), Preset(), WorkspaceResource()),
    )
