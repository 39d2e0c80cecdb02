"""A merged configuration as Kata reads it: with what it takes where a key is absent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from kled_provider.kata.runtime_config.keys import CLH, DRAGONBALL, FIRECRACKER, QEMU, is_off

Place = tuple[str, str]
H, F, A, M, R = "hypervisor", "hypervisor.factory", "agent", "agent.mem_agent", "runtime"

# The value that Kata uses where a key is absent, for keys that a rule reads.
DEFAULTS: Final[Mapping[Place, Any]] = {
    (A, "dial_timeout_ms"): 10,
    (A, "reconnect_timeout_ms"): 3000,
    (R, "internetworking_model"): "tcfilter",
    (R, "sandbox_cgroup_only"): False,
    (R, "static_sandbox_resource_mgmt"): False,
    (H, "default_vcpus"): 1,
    (H, "overhead_vcpus"): 0.2,
    (H, "overhead_memory"): 32,
    (H, "shared_fs"): "none",
}
DEFAULT_MEMORY: Final = {QEMU: 128, CLH: 128, DRAGONBALL: 128, FIRECRACKER: 128}
MOST_VCPUS: Final = {QEMU: 256, CLH: 256, DRAGONBALL: 256, FIRECRACKER: 32}
LEAST_MEMORY: Final = {QEMU: 64, CLH: 64, DRAGONBALL: 64, FIRECRACKER: 128}


class Merged:
    """A merged configuration, with Kata's defaults of what is absent."""

    def __init__(self, hypervisor: str, tables: Mapping[str, Any]) -> None:
        self.hypervisor = hypervisor
        self.tables = tables

    def get(self, place: Place) -> Any:
        """Return the value of a key; what Kata takes where it is absent."""
        table, key = place
        if place == (H, "default_memory"):
            return self.tables[table].get(key) or DEFAULT_MEMORY[self.hypervisor]
        return self.tables[table].get(key, DEFAULTS.get(place))

    def is_on(self, place: Place) -> bool:
        """Whether a key asks for something."""
        return not is_off(self.get(place))
