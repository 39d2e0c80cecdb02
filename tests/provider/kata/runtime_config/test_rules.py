"""Each trap of Kata's configuration, with the exact words, and a configuration without any."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kled_provider.kata.runtime_config.other_keys import TABLES
from kled_provider.kata.runtime_config.rules import key_problems, problems
from kled_provider.kata.runtime_config.tables import Tables, tables_of

BOOT = {"kernel": "/k", "image": "/i"}
VIRTIO_FS = {"shared_fs": "virtio-fs", "virtio_fs_daemon": "/v"}
BASES: dict[str, dict[str, Any]] = {
    "qemu": {**BOOT, **VIRTIO_FS, "path": "/q", "block_device_driver": "virtio-scsi"},
    "clh": {**BOOT, **VIRTIO_FS, "path": "/c", "block_device_driver": "virtio-blk-pci"},
    "dragonball": {**BOOT, "path": "", "shared_fs": "inline-virtio-fs"},
    "firecracker": {**BOOT, "path": "/f", "block_device_driver": "virtio-blk-mmio"},
}


def configuration(hypervisor: str, changes: dict[str, Any]) -> Tables:
    """A sound configuration with 2048 MiB, and what `changes` sets by dotted name."""
    tables = tables_of(hypervisor, {})
    tables["hypervisor"] = {**BASES[hypervisor], "default_memory": 2048}
    for name, value in changes.items():
        table, _, key = name.rpartition(".")
        tables[table or "hypervisor"][key] = value
    return tables


@pytest.mark.parametrize("hypervisor", BASES)
def test_a_sound_configuration_has_no_problem(hypervisor: str) -> None:
    sound = {
        "default_vcpus": 1,
        "network_queues": 1,
        "runtime.sandbox_cgroup_only": True,
        "runtime.static_sandbox_resource_mgmt": True,
        "runtime.internetworking_model": "tcfilter",
        "agent.dial_timeout_ms": 10,
        "agent.reconnect_timeout_ms": 3000,
    }
    assert problems(hypervisor, configuration(hypervisor, sound)) == []


MEM_AGENT = {"agent.mem_agent.enable": True, "reclaim_guest_freed_memory": True}
NO_JAILER = (
    "Leave {} out, or choose another hypervisor: Kata refuses a configuration that has a jailer "
    "for {}."
)
NO_DRAGONBALL = (
    "Leave {} out, or choose another hypervisor: Kata refuses a configuration for Dragonball that "
    "has it."
)
BUILT_IN = (
    "Leave {} out, or choose another hypervisor: Dragonball runs inside the shim, and Kata refuses "
    "the configuration."
)
NO_SHARING = (
    "Leave {} out, or choose another hypervisor: Firecracker shares no file system with its host."
)
NO_SWAP = "{} does nothing without enable_guest_swap = true."

# Hypervisor, what is set, the key that is told of, and the words.
ERRORS: list[tuple[str, dict[str, Any], str, str]] = [
    # guest swap
    (
        "qemu",
        {"enable_guest_swap": True},
        "enable_guest_swap",
        (
            "Leave enable_guest_swap out, or choose another hypervisor: Kata refuses a "
            "configuration for qemu that has it; clh and dragonball swap."
        ),
    ),
    # jailers
    ("qemu", {"jailer_path": "/j"}, "jailer_path", NO_JAILER.format("jailer_path", "qemu")),
    (
        "clh",
        {"valid_jailer_paths": ["/j"]},
        "valid_jailer_paths",
        NO_JAILER.format("valid_jailer_paths", "clh"),
    ),
    # disks
    (
        "qemu",
        {"block_device_driver": "virtio-blk-mmio"},
        "block_device_driver",
        (
            "Use virtio-blk-pci, virtio-blk-ccw, virtio-scsi or virtio-pmem with qemu; got "
            "'virtio-blk-mmio'."
        ),
    ),
    (
        "dragonball",
        {"block_device_driver": "virtio-scsi"},
        "block_device_driver",
        "Use virtio-blk-pci, virtio-blk-mmio or virtio-pmem with dragonball; got 'virtio-scsi'.",
    ),
    (
        "firecracker",
        {"disable_block_device_use": True},
        "disable_block_device_use",
        (
            "Firecracker shares no files: a container's root file system has to be a disk, which "
            "disable_block_device_use forbids."
        ),
    ),
    (
        "qemu",
        {"block_device_logical_sector_size": 4096, "block_device_physical_sector_size": 512},
        "block_device_physical_sector_size",
        (
            "block_device_physical_sector_size must not be less than "
            "block_device_logical_sector_size, which is 4096; got 512."
        ),
    ),
    # sharing files
    (
        "firecracker",
        {"shared_fs": "virtio-fs", "virtio_fs_daemon": "/v"},
        "virtio_fs_daemon shared_fs",
        f"{NO_SHARING.format('virtio_fs_daemon')} Use none with firecracker; got 'virtio-fs'.",
    ),
    (
        "clh",
        {"shared_fs": "inline-virtio-fs"},
        "shared_fs",
        "Use virtio-fs, virtio-fs-nydus or none with clh; got 'inline-virtio-fs'.",
    ),
    (
        "dragonball",
        {"shared_fs": "virtio-fs-nydus", "virtio_fs_daemon": "/v"},
        "shared_fs",
        "Use virtio-fs, inline-virtio-fs or none with dragonball; got 'virtio-fs-nydus'.",
    ),
    (
        "qemu",
        {"virtio_fs_daemon": ""},
        "virtio_fs_daemon",
        "shared_fs = 'virtio-fs' needs a virtio_fs_daemon.",
    ),
    (
        "firecracker",
        {"runtime.sandbox_bind_mounts": ["/srv"]},
        "sandbox_bind_mounts",
        "sandbox_bind_mounts needs a shared file system, which this hypervisor has not.",
    ),
    # sizes
    ("qemu", {"default_vcpus": 257}, "default_vcpus", "qemu has at most 256 vCPUs; got 257."),
    ("clh", {"default_maxvcpus": 300}, "default_maxvcpus", "clh has at most 256 vCPUs; got 300."),
    (
        "firecracker",
        {"default_vcpus": 33},
        "default_vcpus",
        "firecracker has at most 32 vCPUs; got 33.",
    ),
    ("qemu", {"default_memory": 63}, "default_memory", "qemu needs at least 64 MiB; got 63."),
    (
        "firecracker",
        {"default_memory": 127},
        "default_memory",
        "firecracker needs at least 128 MiB; got 127.",
    ),
    (
        "clh",
        {"default_maxmemory": 1024},
        "default_maxmemory",
        "default_maxmemory must not be less than default_memory, which is 2048; got 1024.",
    ),
    # what runs inside the shim
    ("dragonball", {"path": "/d"}, "path", BUILT_IN.format("path")),
    ("dragonball", {"ctlpath": "/d"}, "ctlpath", BUILT_IN.format("ctlpath")),
    *(
        ("dragonball", {key: value}, key, NO_DRAGONBALL.format(key))
        for key, value in {
            "firmware": "/f",
            "machine_type": "q35",
            "enable_iommu": True,
            "default_bridges": 1,
            "pcie_root_port": 1,
            "pcie_switch_port": 1,
            "rootless": True,
            "enable_iothreads": True,
        }.items()
    ),
    (
        "dragonball",
        {"runtime.sandbox_cgroup_only": False},
        "sandbox_cgroup_only",
        "With dragonball all processes share one cgroup: leave it out, or set true.",
    ),
    # boot
    (
        "clh",
        {"initrd": "/r"},
        "initrd",
        "The guest boots from an image or from an initrd: set one.",
    ),
    (
        "clh",
        {"image": ""},
        "image",
        "The configuration names no guest image and no initrd: start from a base that has one.",
    ),
    (
        "firecracker",
        {"image": ""},
        "image",
        "The configuration names no guest image: start from a base that has one.",
    ),
    (
        "qemu",
        {"kernel": ""},
        "kernel",
        "The configuration names no guest kernel: start from a base that has one.",
    ),
    (
        "firecracker",
        {"path": ""},
        "path",
        "The configuration names no firecracker program, and Kata has no default.",
    ),
    (
        "qemu",
        {"hypervisor.factory.enable_template": True},
        "enable_template",
        "With qemu a template VM boots from an initrd; this configuration has none.",
    ),
    (
        "qemu",
        {"pcie_root_port": 1, "pcie_switch_port": 1},
        "pcie_switch_port",
        "Use root ports or switch ports; both are set.",
    ),
    # network and time-outs
    (
        "clh",
        {"runtime.disable_new_netns": True},
        "disable_new_netns",
        'disable_new_netns works only with internetworking_model = "none".',
    ),
    (
        "firecracker",
        {"agent.dial_timeout_ms": 45000},
        "reconnect_timeout_ms",
        "reconnect_timeout_ms must not be less than dial_timeout_ms, which is 45000; got 3000.",
    ),
    # the mem-agent
    (
        "clh",
        {"agent.mem_agent.enable": True},
        "enable",
        (
            "The mem-agent frees memory within the guest; it comes back to the host only with "
            "reclaim_guest_freed_memory = true in the hypervisor block."
        ),
    ),
    (
        "qemu",
        {**MEM_AGENT, "agent.mem_agent.memcg_swap": True},
        "memcg_swap",
        (
            "There is no swap in the guest: set enable_guest_swap = true in the hypervisor block "
            "(clh and dragonball), or leave memcg_swap out."
        ),
    ),
    (
        "firecracker",
        {"reclaim_guest_freed_memory": True},
        "reclaim_guest_freed_memory",
        (
            "Leave reclaim_guest_freed_memory out, or choose another hypervisor: Kata does not "
            "implement it for Firecracker."
        ),
    ),
    (
        "clh",
        {"kernel_params": "quiet agent.mem_agent_memcg_period_secs=60 agent.mem_agent_enable=1"},
        "kernel_params",
        (
            "agent.mem_agent_memcg_period_secs comes before agent.mem_agent_enable=1 and would be "
            "lost: set enable = true in the mem_agent block, or put agent.mem_agent_enable=1 first."
        ),
    ),
]

FIXED = (
    "{} does nothing: the VM's size is fixed at its start, unless static_sandbox_resource_mgmt = "
    "false in the runtime block."
)
WARNINGS: list[tuple[str, dict[str, Any], str, str]] = [
    *(
        ("clh", {"runtime.static_sandbox_resource_mgmt": True, key: value}, key, FIXED.format(key))
        for key, value in (
            ("default_maxvcpus", 8),
            ("default_maxmemory", 8192),
            ("enable_virtio_mem", True),
        )
    ),
    *(
        ("clh", {key: value}, key, NO_SWAP.format(key))
        for key, value in (
            ("guest_swap_path", "/s"),
            ("guest_swap_size_percent", 50),
            ("guest_swap_create_threshold_secs", 5),
        )
    ),
    (
        "clh",
        {"agent.mem_agent.memcg_period_secs": 60},
        "memcg_period_secs",
        "The mem-agent does not run: set enable = true in the mem_agent block.",
    ),
    (
        "clh",
        {**MEM_AGENT, "agent.policy": "default MemAgentMemcgConfig := false\n"},
        "policy",
        "The policy refuses the requests by which a running mem-agent is retuned.",
    ),
    (
        "clh",
        {"runtime.internetworking_model": "l3forwarding"},
        "internetworking_model",
        "l3forwarding is experimental: IPv4 and one network device only.",
    ),
    (
        "qemu",
        {"disk_rate_limiter_bw_max_rate": 1000},
        "disk_rate_limiter_bw_max_rate",
        (
            "Leave disk_rate_limiter_bw_max_rate out, or choose another hypervisor: it does "
            "nothing with qemu."
        ),
    ),
]


@pytest.mark.parametrize("case", ERRORS, ids=lambda case: f"{case[0]} {case[1]}")
def test_what_kata_refuses_is_an_error(case: tuple[str, dict[str, Any], str, str]) -> None:
    hypervisor, changes, key, words = case
    found = problems(hypervisor, configuration(hypervisor, changes))
    errors = [problem for problem in found if not problem.is_warning]
    assert " ".join(problem.key for problem in errors) == key
    assert " ".join(problem.sentence for problem in errors) == words


@pytest.mark.parametrize("case", WARNINGS, ids=lambda case: f"{case[0]} {case[1]}")
def test_what_does_nothing_is_a_warning(case: tuple[str, dict[str, Any], str, str]) -> None:
    hypervisor, changes, key, words = case
    found = problems(hypervisor, configuration(hypervisor, changes))
    assert [(p.key, p.sentence, p.is_warning) for p in found] == [(key, words, True)]


def test_a_mem_agent_enabled_first_by_kernel_parameters_is_sound() -> None:
    params = "psi=1 agent.mem_agent_enable=1 agent.mem_agent_memcg_period_secs=60"
    assert problems("clh", configuration("clh", {"kernel_params": params})) == []


def test_a_value_of_a_base_is_checked_by_type_and_range() -> None:
    tables = configuration("clh", {"default_vcpus": "two", "agent.mem_agent.memcg_period_secs": 0})
    assert [(p.table, p.key, p.sentence) for p in key_problems(tables)] == [
        ("hypervisor", "default_vcpus", "Use a number; got 'two'."),
        (
            "agent.mem_agent",
            "memcg_period_secs",
            "Use a whole number, 1 to 18446744073709551615 seconds; got 0.",
        ),
    ]


ANY = {"bool": st.booleans(), "number": st.integers(0, 5000), "string": st.text(max_size=5)}
KEYS = {
    f"{table}.{key.name}": ANY[key.type] if isinstance(key.type, str) else st.just(["x"])
    for table in ("hypervisor", "agent", "agent.mem_agent", "runtime", "hypervisor.factory")
    for key in TABLES[table]
}


@given(
    st.sampled_from(sorted(BASES)),
    st.lists(st.sampled_from(sorted(KEYS)), max_size=4, unique=True).flatmap(
        lambda names: st.fixed_dictionaries({name: KEYS[name] for name in names})
    ),
)
def test_any_configuration_is_judged(hypervisor: str, changes: dict[str, Any]) -> None:
    for problem in problems(hypervisor, configuration(hypervisor, changes)):
        assert problem.key in {key.name for key in TABLES[problem.table]}
        assert problem.sentence.endswith(".")
