"""The tables of keys: every one is described, checked, and refuses what is out of its range."""

from __future__ import annotations

from typing import Any

import pytest

from kled_provider.kata.runtime_config.keys import HYPERVISORS, Key
from kled_provider.kata.runtime_config.other_keys import TABLES, dangerous_keys

KEYS = {f"{table}.{key.name}": key for table, keys in TABLES.items() for key in keys}


def test_each_key_stands_once_and_is_described() -> None:
    assert len(KEYS) == sum(len(keys) for keys in TABLES.values())
    for name, key in KEYS.items():
        assert key.description.endswith("."), name
        assert set(key.only) | set(key.without) <= set(HYPERVISORS), name
        assert not set(key.only) & set(key.without), name
        assert key.check or key.type == "bool", name


def test_what_names_a_program_a_path_or_arguments_is_dangerous() -> None:
    """Whatever looks like one of these, by its name, is found here when it is added."""
    looks = ("path", "daemon", "jailer", "hook", "firmware", "kernel", "image", "initrd", "args")
    harmless = {
        "hypervisor.kernel_params",  # the guest's
        "hypervisor.kernel_verity_params",
        "hypervisor.disable_image_nvdimm",
        "agent.kernel_modules",
        "runtime.shared_mounts.src_path",  # within a guest
        "runtime.shared_mounts.dst_path",
    }
    found = {name for name in KEYS if any(word in name.rpartition(".")[2] for word in looks)}
    dangerous = {name for name, key in KEYS.items() if key.is_dangerous}
    assert found - harmless <= dangerous
    named = (
        "path ctlpath jailer_path virtio_fs_daemon virtio_fs_extra_args guest_hook_path firmware "
        "kernel image initrd"
    )
    assert set(named.split()) <= dangerous_keys("hypervisor")
    assert "sandbox_bind_mounts" in dangerous_keys("runtime")


WRONG: dict[str, tuple[Any, str]] = {
    "hypervisor.default_vcpus": (-1, "Use 0 or more vCPUs; got -1."),
    "hypervisor.default_memory": (1.5, "Use a whole number, 0 to 4294967295 MiB; got 1.5."),
    "hypervisor.memory_slots": (0, "Use a whole number, 1 to 4294967295; got 0."),
    "hypervisor.network_queues": (257, "Use a whole number, 1 to 256; got 257."),
    "hypervisor.default_bridges": (6, "Use a whole number, 0 to 5; got 6."),
    "hypervisor.block_device_logical_sector_size": (
        768,
        "Use 0 or a power of two, 512 to 65536 bytes; got 768.",
    ),
    "hypervisor.shared_fs": (
        "9p",
        "Use virtio-fs, inline-virtio-fs, virtio-fs-nydus or none; got '9p'.",
    ),
    "hypervisor.kernel_params": ("a\0b", "Use text without control codes; got 'a\\x00b'."),
    "hypervisor.enable_annotations": (
        ["a" * 65537],
        "It has 65537 characters; at most 65536 are taken.",
    ),
    "agent.mem_agent.memcg_period_secs": (
        0,
        "Use a whole number, 1 to 18446744073709551615 seconds; got 0.",
    ),
    "agent.mem_agent.memcg_swappiness_max": (201, "Use a whole number, 0 to 200; got 201."),
    "agent.mem_agent.memcg_period_psi_percent_limit": (
        256,
        "Use a whole number, 0 to 100; got 256.",
    ),
    "agent.mem_agent.compact_force_times": (
        2**64 - 1,
        "Use a whole number, 0 to 9223372036854775807; got 18446744073709551615.",
    ),
    # 0 is no "without limit" to Kata: it is less than the wait between two attempts.
    "agent.reconnect_timeout_ms": (0, "Use a whole number, 1 to 4294967295 ms; got 0."),
    "agent.log_level": (
        "warning",
        "Use trace, debug, info, warn, error or critical; got 'warning'.",
    ),
    "runtime.internetworking_model": (
        "bridge",
        "Use macvtap, none, tcfilter or l3forwarding; got 'bridge'.",
    ),
    "runtime.emptydir_mode": (
        "tmpfs",
        "Use shared-fs, block-plain or block-encrypted; got 'tmpfs'.",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_value_out_of_range_is_refused(name: str) -> None:
    value, problem = WRONG[name]
    assert check(KEYS[name], value) == problem


@pytest.mark.parametrize("name", KEYS)
def test_no_check_fails_on_a_value_of_its_type(name: str) -> None:
    key = KEYS[name]
    for value in {"number": (0, 1, 2**70, 0.5), "string": ("", "x"), "bool": (True,)}.get(
        key.type if isinstance(key.type, str) else "", (["x"], [])
    ):
        check(key, value)


def check(key: Key, value: Any) -> str | None:
    return key.check(value) if key.check else None
