"""How large the VM of a container becomes. No I/O.

runtime-rs, static sizing: memory is the limit and an overhead, rounded up to even MiB; CPUs are
quota over period and an overhead, rounded up, one at least (docs/kata.md).
"""

from __future__ import annotations

import math
from typing import Final

from kled_provider.kata.owner.file import Handler

OVERHEAD_MIB: Final = 32
OVERHEAD_VCPUS: Final = 0.2


def guest_size(handler: Handler, memory_mib: int, vcpus: float) -> tuple[int, float]:
    """Return memory in MiB and CPUs that a container has; without Kata its limits."""
    if not handler.is_kata:
        return memory_mib, vcpus
    memory = memory_mib + OVERHEAD_MIB
    return memory + memory % 2, max(1, math.ceil(vcpus + OVERHEAD_VCPUS))
