"""All of the `kled` provider."""

from __future__ import annotations

from kled_provider.kled.agent import Agent
from kled_provider.kled.parameter import Parameter
from kled_provider.kled.preset import Preset
from kled_provider.kled.process import Process
from kled_provider.kled.workspace import Workspace
from kled_provider.plugin.resource import Provider


def kled_provider() -> Provider:
    """Make the provider; it keeps no state."""
    return Provider(
        name="kled",
        resources=(Agent(), Process()),
        data_sources=(Parameter(), Preset(), Workspace()),
    )
