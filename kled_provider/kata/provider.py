"""The list of the `kata` provider's resources and data sources, and how it is served."""

from __future__ import annotations

from kled_provider.kata.container.resource import ContainerResource
from kled_provider.kata.host.data import HostData
from kled_provider.kata.image.resource import ImageData, ImageResource
from kled_provider.kata.machine import KataMachine
from kled_provider.kata.network.resource import NetworkResource
from kled_provider.kata.network.settings import network_settings
from kled_provider.kata.runtime_config.resource import RuntimeConfigResource
from kled_provider.kata.volume.resource import VolumeResource, volume_settings
from kled_provider.plugin.resource import DataSource, Provider, Resource


def kata_provider(machine: KataMachine) -> Provider:
    """Make the provider; what it makes stands on `machine`."""
    return Provider(name="kata", resources=_resources(machine), data_sources=_sources(machine))


def _resources(machine: KataMachine) -> tuple[Resource, ...]:
    return (
        ContainerResource(machine),
        ImageResource(machine),
        NetworkResource(lambda: network_settings(machine.owner())),
        VolumeResource(lambda: volume_settings(machine.owner())),
        RuntimeConfigResource(machine),
    )


def _sources(machine: KataMachine) -> tuple[DataSource, ...]:
    return (HostData(machine), ImageData(machine))
