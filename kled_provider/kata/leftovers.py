"""Collects what unclean deaths have left of containers: snapshots, addresses, ports, files, logs.

A container that fails is taken away by whoever made it; who was killed could not. What is there of
one that containerd does not know, and that no live process is creating, is nobody's.
"""

from __future__ import annotations

import signal
from contextlib import suppress

import trio

from kled_provider.host import HostError
from kled_provider.kata.container.making.joining import Joins
from kled_provider.kata.container.place import ContainerPlace
from kled_provider.kata.machine import KataMachine
from kled_provider.kata.owner.file import OwnerFileError
from kled_provider.kata.volume.resource import collect_volumes, volume_settings


async def collect_leftovers(machine: KataMachine) -> list[str]:
    """Take them away; returns whose they were. What hinders it is told by whoever needs it next.

    What reads the output of the living is started again, where it has died.
    """
    try:
        owner, api = machine.owner(), await machine.containerd()
        joins = Joins(owner)
        living = {container.id for container in await api.containers.list()}
        collected = await trio.to_thread.run_sync(collect_volumes, volume_settings(owner))
        for container in {*joins.networks.abandoned(living), *joins.outputs.abandoned(living)}:
            with suppress(HostError, OSError):  # the next run tries again
                if await ContainerPlace(api, owner, container).clear(signal.SIGKILL, 0) is None:
                    collected.append(container)
        await joins.outputs.ensure_read()
    except (OwnerFileError, HostError, OSError):
        return []
    return collected
