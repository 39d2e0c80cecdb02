"""The resources and data sources of the provider `coder/coder` that Kled implements."""

from __future__ import annotations

from kled_provider.coder.data import coder_data_sources
from kled_provider.coder.resources import coder_resources, unused
from kled_provider.plugin.resource import Provider
from kled_provider.plugin.schema import BOOL, Schema


def coder_provider() -> Provider:
    """Make the provider; it keeps no state."""
    return Provider(
        name="coder",
        resources=coder_resources(),
        data_sources=coder_data_sources(),
        schema=Schema(
            attributes=(
                unused("url", "the coordinator that builds is the one there is"),
                unused("feature_use_managed_variables", "variables stay variables", of=BOOL),
            )
        ),
    )
