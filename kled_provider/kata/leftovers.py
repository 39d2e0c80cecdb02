"""Collects what unclean deaths have left of containers: namespaces, addresses, ports, logs.

A container that fails is taken away by whoever made it; who was killed could not. What is there of
one that containerd does not know, and that no live process is creating, is nobody's.
"""

from __future__ import annotations

import trio

from kled_provider.host import HostError
from kled_provider.kata.container.joining import Joins
from kled_provider.kata.machine import KataMachine
from kled_provider.kata.owner.file import OwnerFileError
from kled_provider.kata.volume.resource import collect_volumes, volume_settings


async def collect_leftovers(machine: KataMachine) -> list[str]:
    """Take them away; returns whose they were. What hinders it is told by whoever needs it next."""
    try:
        joins = Joins(machine.owner())
        api = await machine.containerd()
        living = {container.id for container in await api.containers.list()}
        volumes = await trio.to_thread.run_sync(collect_volumes, volume_settings(joins.owner))
        attached, printed = joins.networks, joins.outputs
        return [*await attached.collect(living), *await printed.collect(living), *volumes]
    except (OwnerFileError, HostError, OSError):
        return []
