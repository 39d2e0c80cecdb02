"""How large Kata makes the VM of a container with limits. No I/O.

Static sizing (the shipped files) fixes it at boot: memory is the limit, rounded up to an even
number of MiB, and overhead_memory; vCPUs are the limit and overhead_vcpus, rounded up. Otherwise
the VM starts with default_memory and default_vcpus, and the limits are added, up to
default_maxmemory and default_maxvcpus.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from kled_provider.kata.runtime_config.merged import LEAST_MEMORY, MOST_VCPUS, H, Merged, R


@dataclass(frozen=True, slots=True, kw_only=True)
class GuestSize:
    """What the guest has, and whether a change of the limits changes it while it runs."""

    memory_mib: int
    vcpus: int
    is_fixed: bool


def size_guest(merged: Merged, memory_mib: int, vcpus: float) -> GuestSize:
    """Say how large the VM of a container with these limits becomes."""
    if merged.get((R, "static_sandbox_resource_mgmt")):
        memory = memory_mib + memory_mib % 2 + int(merged.get((H, "overhead_memory")))
        processors = vcpus + float(merged.get((H, "overhead_vcpus")))
        return GuestSize(memory_mib=memory, vcpus=_whole(processors), is_fixed=True)
    # Firecracker cannot add anything to a running VM.
    grows = merged.hypervisor != "firecracker"
    memory = int(merged.get((H, "default_memory"))) + memory_mib * grows
    processors = float(merged.get((H, "default_vcpus")) or 1) + vcpus * grows
    memory = min(memory, int(merged.get((H, "default_maxmemory")) or memory))
    processors = min(processors, float(merged.get((H, "default_maxvcpus")) or processors))
    return GuestSize(memory_mib=memory, vcpus=_whole(processors), is_fixed=not grows)


def size_problems(merged: Merged, memory_mib: int, vcpus: float) -> list[tuple[str, str]]:
    """Say by attribute why a VM of this size does not start."""
    size = size_guest(merged, memory_mib, vcpus)
    least, most = LEAST_MEMORY[merged.hypervisor], MOST_VCPUS[merged.hypervisor]
    found = []
    if size.memory_mib < least:
        found.append(
            (
                "memory",
                (
                    f"The VM would have {size.memory_mib} MiB; {merged.hypervisor} needs at least "
                    f"{least}."
                ),
            )
        )
    if size.vcpus > most:
        found.append(
            (
                "vcpus",
                f"The VM would have {size.vcpus} vCPUs; {merged.hypervisor} has at most {most}.",
            )
        )
    return found


def _whole(processors: float) -> int:
    return max(1, math.ceil(round(processors, 6)))
