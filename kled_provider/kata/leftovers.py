"""Collects what unclean deaths have left of containers: namespaces, addresses, ports, logs.

A container that fails is taken away by whoever made it; who was killed could not. What is there of
one that containerd does not know, and that no live process is creating, is nobody's.
"""

from __future__ import annotations

from kled_provider.host import HostError
from kled_provider.kata.container.joining import Joins
from kled_provider.kata.machine import KataMachine
from kled_provider.kata.owner.file import OwnerFileError


async def collect_leftovers(machine: KataMachine) -> list[str]:
    """Take them away; returns whose they were. What hinders it is told by whoever needs it next."""
    try:
        joins = Joins(machine.owner())
        api = await machine.containerd()
        living = {container.id for container in await api.containers.list()}
        return [*await joins.networks.collect(living), *await joins.outputs.collect(living)]
    except (OwnerFileError, HostError, OSError):
        return []
