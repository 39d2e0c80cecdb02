"""The annotations by which a container changes Kata's configuration for itself.

runtime-rs ignores one that `enable_annotations` does not let through, and fails the VM for one that
it lets through and does not know: both are mistakes here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from kled_provider.kata.container.declared.annotated import effect_problems
from kled_provider.kata.owner.file import OwnerFile
from kled_provider.kata.runtime_config.hypervisor_keys import HYPERVISOR_KEYS
from kled_provider.kata.runtime_config.keys import U32, U64
from kled_provider.kata.runtime_config.merged import Merged
from kled_provider.kata.runtime_config.other_keys import TABLES

HYPERVISOR: Final = "io.katacontainers.config.hypervisor."
RUNTIME: Final = "io.katacontainers.config.runtime."
AGENT: Final = "io.katacontainers.config.agent."
SWAP: Final = "io.katacontainers.container.resource.swap"

# A sentence about a value, or None.
_Judge = Callable[[str], str | None]


def _whole(most: int) -> _Judge:
    def judge(value: str) -> str | None:
        if value.isascii() and value.isdecimal() and int(value) <= most:
            return None
        return f"Use a whole number, 0 to {most}; got {value[:80]!r}."

    return judge


def _float(value: str) -> str | None:
    if re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?", value):
        return None
    return f"Use a number; got {value[:80]!r}."


def _bool(value: str) -> str | None:
    return None if value in ("true", "false") else f"Use true or false; got {value[:80]!r}."


def _memory(value: str) -> str | None:
    if re.fullmatch(r"[0-9]{1,9}( ?[KMG]i?B)?", value):
        return None
    return f"Use MiB, or a size such as 2 GiB; got {value[:80]!r}."


def _text(value: str) -> str | None:
    return None if value.isprintable() else "Use text without control codes."


def _all(judge: _Judge, names: str) -> dict[str, _Judge]:
    return dict.fromkeys(names.split(), judge)


# By the end of the annotation's name: the form of its value.
_OF_HYPERVISOR: Final[Mapping[str, _Judge]] = {
    "default_vcpus": _float,
    "default_memory": _memory,
    **_all(
        _text,
        "kernel_params kernel_verity_params kernel image initrd firmware machine_type "
        "machine_accelerators cpu_features guest_hook_path shared_fs virtio_fs_cache hugepage_type "
        "block_device_driver path jailer_path entropy_source vhost_user_store_path "
        "virtio_fs_daemon virtio_fs_extra_args cc_init_data default_gpu_model prefetch_files.list",
    ),
    **_all(
        _whole(U32),
        "default_max_vcpus virtio_fs_cache_size memory_slots pcie_root_port pcie_switch_port "
        "network_queues indep_iothreads blk_logical_sector_size blk_physical_sector_size "
        "block_device_queue_size block_device_num_queues default_gpus",
    ),
    **_all(_whole(U64), "memory_offset rx_rate_limiter_max_rate tx_rate_limiter_max_rate"),
    **_all(
        _bool,
        "enable_iommu enable_iommu_platform enable_guest_swap enable_hugepages enable_mem_prealloc "
        "enable_virtio_mem enable_iothreads disable_block_device_use block_device_cache_set "
        "block_device_cache_direct block_device_cache_noflush disable_image_nvdimm "
        "disable_vhost_net enable_vhost_user_store rootless",
    ),
}
_OF_RUNTIME: Final[Mapping[str, _Judge]] = {
    **_all(_text, "internetworking_model vfio_mode experimental shared_mounts"),
    **_all(
        _bool,
        "disable_guest_seccomp disable_new_netns sandbox_cgroup_only enable_vcpus_pinning "
        "enable_pprof",
    ),
    "create_container_timeout": _whole(U32),
}
_OF_AGENT: Final[Mapping[str, _Judge]] = {
    "enable_tracing": _bool,
    "container_pipe_size": _whole(U32),
    "kernel_modules": _text,
    "cdh_api_timeout_ms": _whole(U32),
}
# Annotations that Kata accepts and ignores, or that must not be set in this way.
_NEVER: Final = {
    "io.katacontainers.config_path": "Kata has no such annotation: set `config` in the runtime "
    "block to the path of a kata_runtime_config.",
    f"{RUNTIME}sandbox_bind_mounts": "Kata takes it from a configuration only: set it in a "
    "kata_runtime_config.",
    f"{RUNTIME}name": "Kata takes no runtime that it can start under this annotation: leave it "
    "out.",
    f"{RUNTIME}hypervisor_name": "The handler says which hypervisor runs: choose another handler.",
    f"{RUNTIME}agent_name": "Kata has one agent: leave it out.",
    f"{HYPERVISOR}default_vcpus": "It has no effect beside limits, which are always set: set "
    "`vcpus`.",
    f"{HYPERVISOR}default_memory": "It has no effect beside limits, which are always set: set "
    "`memory`.",
    f"{SWAP}piness": "runtime-rs reads it and does nothing with it: set enable_guest_swap in a "
    "kata_runtime_config.",
    f"{SWAP}_in_bytes": "runtime-rs reads it and does nothing with it: set enable_guest_swap in a "
    "kata_runtime_config.",
}
_KEYS: Final = {key.name: key for key in HYPERVISOR_KEYS}


def annotation_problems(
    annotations: Mapping[str, Any], owner: OwnerFile, merged: Merged | None
) -> Iterator[tuple[str, str]]:
    """Say by name what is wrong with the annotations of a container of Kata.

    `merged` is the configuration that it gets; None where it is not known yet.
    """
    sound: dict[str, str] = {}
    for name, value in annotations.items():
        if name in _NEVER:
            yield name, _NEVER[name]
        elif isinstance(value, str):
            sentence = _problem(name, value, owner, merged)
            if sentence:
                yield name, sentence
            else:
                sound[name] = value
    if merged is not None:
        yield from effect_problems(sound, merged)


def _problem(name: str, value: str, owner: OwnerFile, merged: Merged | None) -> str | None:
    for prefix, known in ((RUNTIME, _OF_RUNTIME), (AGENT, _OF_AGENT)):
        if name.startswith(prefix):
            judge = known.get(name.removeprefix(prefix))
            return judge(value) if judge else _unknown(name)
    if not name.startswith(HYPERVISOR):
        return (
            f"Only annotations that begin with {HYPERVISOR}, {RUNTIME} or {AGENT} are taken; got "
            f"{name[:120]!r}."
        )
    key = name.removeprefix(HYPERVISOR)
    if key not in _OF_HYPERVISOR:
        return _unknown(name)
    return _OF_HYPERVISOR[key](value) or _host(key, value, owner) or _gate(key, value, merged)


def _unknown(name: str) -> str:
    key = name.rpartition(".")[2]
    if any(key in (one.name for one in keys) for keys in TABLES.values()):
        return f"Kata takes {key} from a configuration only: set it in a kata_runtime_config."
    return f"Kata has no annotation {name[:120]!r}."


def _host(key: str, value: str, owner: OwnerFile) -> str | None:
    described = _KEYS.get(key)
    if described is None or not described.is_dangerous:
        return None
    allowed = owner.allowed_values("hypervisor", key)
    given = value.split(",") if key == "virtio_fs_extra_args" else [value]
    return None if set(given) <= set(allowed) else owner.not_listed("hypervisor", key)


def _gate(key: str, value: str, merged: Merged | None) -> str | None:
    if merged is None:
        return None
    patterns = merged.get(("hypervisor", "enable_annotations")) or []
    # Kata looks for the expression anywhere in the key.
    if not any(_finds(pattern, key) for pattern in patterns):
        return (
            f"Kata would ignore it: enable_annotations of the configuration does not have {key!r}."
        )
    described = _KEYS.get(key)
    if described is not None and merged.hypervisor not in described.only and value != "false":
        return f"It has no effect with {merged.hypervisor}."
    return None


def _finds(pattern: object, key: str) -> bool:
    """Whether an expression of Kata's `regex` crate finds something; a bad one finds nothing."""
    if not isinstance(pattern, str) or len(pattern) > 200:
        return False
    try:
        return re.search(pattern, key) is not None
    except re.error:
        return False
