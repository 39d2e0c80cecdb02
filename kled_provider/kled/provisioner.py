"""Data source `kled_provisioner`: the machine on which Terraform runs."""

from __future__ import annotations

import platform

from kled_provider.kled.agent import machine_arch, machine_os
from kled_provider.plugin.resource import Context, DataSource
from kled_provider.plugin.schema import Schema, computed
from kled_provider.plugin.values import Values

SCHEMA = Schema(
    description="The machine on which Terraform runs.",
    attributes=(
        computed("id", "Always the same."),
        computed("os", "`linux` or `darwin`."),
        computed("arch", "`amd64` or `arm64`."),
    ),
)


class ProvisionerData(DataSource):
    """Tells a template which images and programs fit."""

    schema = SCHEMA

    def __init__(self, type_name: str = "kled_provisioner") -> None:
        self.type_name = type_name

    async def read(self, context: Context, config: Values) -> Values:
        """Say what this machine is."""
        return {"id": platform.node() or "kled", "os": machine_os(), "arch": machine_arch()}
