"""Marks containers of which the kernel has killed a process for memory.

The cgroup of a container tells it of runc's alone, and only as long as its task is there; of a VM
the guest's kernel tells Kata's shim, which tells containerd (`/tasks/oom`).
"""

from __future__ import annotations

from typing import Final

from kled_provider.containerd.api import ContainerdApi

OOM_LABEL: Final = "kled.dev/oom-killed"


async def keep_oom_marks(api: ContainerdApi, namespace: str) -> None:
    """Mark those of a namespace until containerd ends. Raises ContainerdError."""
    filters = f'topic=="/tasks/oom",namespace=="{namespace}"'
    async with api.events.open_subscription(filters) as events:
        async for event in events:
            await api.containers.set_label(event.container, OOM_LABEL, "yes")
