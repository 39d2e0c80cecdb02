"""Whether Kata would take a configuration, and whether what it says has any effect.

Kata finds most of this when a VM starts, or never: here it is a table of rules, asked at plan.
`problems` looks at a merged configuration (tables.py) of one hypervisor.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from kled_provider.kata.runtime_config.keys import (
    CLH,
    DRAGONBALL,
    FIRECRACKER,
    QEMU,
    Key,
    is_off,
)
from kled_provider.kata.runtime_config.mem_agent_rules import MEM_AGENT_RULES
from kled_provider.kata.runtime_config.merged import (
    LEAST_MEMORY,
    MOST_VCPUS,
    A,
    F,
    H,
    M,
    Merged,
    Place,
    R,
)
from kled_provider.kata.runtime_config.other_keys import REPEATED, TABLES
from kled_provider.kata.runtime_config.problem import Problem


def problems(hypervisor: str, tables: Mapping[str, Any]) -> list[Problem]:
    """Say what is wrong with a merged configuration whose values are of the right types."""
    merged = Merged(hypervisor, tables)
    return [problem for rule in _RULES for problem in rule(merged)]


def key_problems(tables: Mapping[str, Any]) -> Iterator[Problem]:
    """Check each value by the range of its key. Terraform's schema does it for a template's."""
    for name, keys in TABLES.items():
        several = tables[name] if name in REPEATED else [tables[name]]
        for number, values in enumerate(several):
            index = number if name in REPEATED else None
            for key in keys:
                sentence = _range_problem(key, values.get(key.name))
                if sentence:
                    yield Problem(table=name, key=key.name, sentence=sentence, index=index)


_TYPES: Final[Mapping[str, type | tuple[type, ...]]] = {
    "bool": bool,
    "string": str,
    "number": (int, float),
}


def _range_problem(key: Key, value: Any) -> str | None:
    if value is None:
        return None
    wanted = _TYPES[key.type] if isinstance(key.type, str) else list
    if not isinstance(value, wanted) or isinstance(value, bool) != (key.type == "bool"):
        of = key.type if isinstance(key.type, str) else "list"
        return f"Use a {of}; got {str(value)[:80]!r}."
    return key.check(value) if key.check else None


# --- what a hypervisor takes


def _not_for(merged: Merged) -> Iterator[Problem]:
    for name, keys in TABLES.items():
        if name in REPEATED:
            continue
        for key in keys:
            kind, value = merged.hypervisor, merged.tables[name].get(key.name)
            if kind in key.only or is_off(value):
                continue
            why = key.without.get(kind, f"it does nothing with {kind}")
            sentence = f"Leave {key.name} out, or choose another hypervisor: {why}."
            # A setting of the shipped file that has no effect is not a mistake of the template.
            is_warning = kind not in key.without
            yield Problem(table=name, key=key.name, sentence=sentence, is_warning=is_warning)


_CHOICES: Final[Mapping[tuple[str, str], tuple[str, ...]]] = {
    (QEMU, "shared_fs"): ("virtio-fs", "virtio-fs-nydus", "none"),
    (CLH, "shared_fs"): ("virtio-fs", "virtio-fs-nydus", "none"),
    (DRAGONBALL, "shared_fs"): ("virtio-fs", "inline-virtio-fs", "none"),
    (FIRECRACKER, "shared_fs"): ("none",),
    (QEMU, "block_device_driver"): (
        "virtio-blk-pci",
        "virtio-blk-ccw",
        "virtio-scsi",
        "virtio-pmem",
    ),
    (DRAGONBALL, "block_device_driver"): ("virtio-blk-pci", "virtio-blk-mmio", "virtio-pmem"),
    (FIRECRACKER, "block_device_driver"): ("virtio-blk-mmio",),
}


def _choices(merged: Merged) -> Iterator[Problem]:
    for (kind, key), choices in _CHOICES.items():
        value = merged.get((H, key))
        if kind == merged.hypervisor and not is_off(value) and value not in choices:
            wanted = " or ".join([", ".join(choices[:-1]), choices[-1]] if choices[1:] else choices)
            sentence = f"Use {wanted} with {kind}; got {value!r}."
            yield Problem(table=H, key=key, sentence=sentence)


def _limits(merged: Merged) -> Iterator[Problem]:
    most, least = MOST_VCPUS[merged.hypervisor], LEAST_MEMORY[merged.hypervisor]
    for key in ("default_vcpus", "default_maxvcpus"):
        if (merged.get((H, key)) or 0) > most:
            sentence = f"{merged.hypervisor} has at most {most} vCPUs; got {merged.get((H, key))}."
            yield Problem(table=H, key=key, sentence=sentence)
    memory = merged.get((H, "default_memory"))
    if memory < least:
        sentence = f"{merged.hypervisor} needs at least {least} MiB; got {memory}."
        yield Problem(table=H, key="default_memory", sentence=sentence)


# --- what goes together


@dataclass(frozen=True, slots=True, kw_only=True)
class _Need:
    """Where `when` is on, `then` has to be one of `values`; none of them: on at all."""

    when: Place
    then: Place
    sentence: str
    values: tuple[Any, ...] = ()
    only: tuple[str, ...] = (QEMU, CLH, DRAGONBALL, FIRECRACKER)
    is_warning: bool = False


_NEEDS: Final = (
    _Need(
        when=(M, "enable"),
        then=(H, "reclaim_guest_freed_memory"),
        sentence="The mem-agent frees memory within the guest; it comes back to the host only with "
        "reclaim_guest_freed_memory = true in the hypervisor block.",
    ),
    _Need(
        when=(M, "memcg_swap"),
        then=(H, "enable_guest_swap"),
        sentence="There is no swap in the guest: set enable_guest_swap = true in the hypervisor "
        "block (clh and dragonball), or leave memcg_swap out.",
    ),
    *(
        _Need(
            when=(H, key),
            then=(H, "enable_guest_swap"),
            sentence=f"{key} does nothing without enable_guest_swap = true.",
            is_warning=True,
        )
        for key in (
            "guest_swap_path",
            "guest_swap_size_percent",
            "guest_swap_create_threshold_secs",
        )
    ),
    _Need(
        when=(R, "disable_new_netns"),
        then=(R, "internetworking_model"),
        values=("none",),
        sentence='disable_new_netns works only with internetworking_model = "none".',
    ),
    _Need(
        when=(R, "sandbox_bind_mounts"),
        then=(H, "shared_fs"),
        values=("virtio-fs", "inline-virtio-fs", "virtio-fs-nydus"),
        sentence="sandbox_bind_mounts needs a shared file system, which this hypervisor has not.",
    ),
    _Need(
        when=(F, "enable_template"),
        then=(H, "initrd"),
        only=(QEMU,),
        sentence="With qemu a template VM boots from an initrd; this configuration has none.",
    ),
    _Need(
        when=(H, "indep_iothreads"),
        then=(H, "enable_iothreads"),
        sentence="indep_iothreads does nothing without enable_iothreads = true.",
        is_warning=True,
    ),
    _Need(
        when=(H, "hugepage_type"),
        then=(H, "enable_hugepages"),
        sentence="hugepage_type does nothing without enable_hugepages = true.",
        is_warning=True,
    ),
    _Need(
        when=(H, "enable_iommu_platform"),
        then=(H, "enable_iommu"),
        sentence="enable_iommu_platform needs enable_iommu = true.",
    ),
)


def _needs(merged: Merged) -> Iterator[Problem]:
    for need in _NEEDS:
        if merged.hypervisor in need.only and merged.is_on(need.when):
            found = merged.get(need.then)
            if found not in need.values if need.values else is_off(found):
                table, key = need.when
                yield Problem(
                    table=table,
                    key=key,
                    sentence=need.sentence,
                    is_warning=need.is_warning,
                    others=(need.then,),
                )


# Where both keys of a pair are on, Kata refuses the second.
_EXCLUSIVE: Final = (
    ((H, "image"), (H, "initrd"), "The guest boots from an image or from an initrd: set one."),
    (
        (H, "pcie_root_port"),
        (H, "pcie_switch_port"),
        "Use root ports or switch ports; both are set.",
    ),
    (
        (F, "boot_to_be_template"),
        (F, "boot_from_template"),
        "A VM becomes the template or is made from it; both are set.",
    ),
)


def _exclusive(merged: Merged) -> Iterator[Problem]:
    for first, (table, key), sentence in _EXCLUSIVE:
        if merged.is_on(first) and merged.is_on((table, key)):
            yield Problem(table=table, key=key, sentence=sentence, others=(first,))


# The second of two numbers must not be smaller than the first; 0 stands for no limit.
_ORDERED: Final = (
    ((H, "default_memory"), (H, "default_maxmemory")),
    ((H, "default_vcpus"), (H, "default_maxvcpus")),
    ((H, "block_device_logical_sector_size"), (H, "block_device_physical_sector_size")),
    ((A, "dial_timeout_ms"), (A, "reconnect_timeout_ms")),
)


def _ordered(merged: Merged) -> Iterator[Problem]:
    for less, more in _ORDERED:
        if merged.is_on(less) and merged.is_on(more) and merged.get(less) > merged.get(more):
            sentence = (
                f"{more[1]} must not be less than {less[1]}, which is {merged.get(less)}; "
                f"got {merged.get(more)}."
            )
            yield Problem(table=more[0], key=more[1], sentence=sentence, others=(less,))


# --- boot, and what does nothing


def _boot(merged: Merged) -> Iterator[Problem]:
    if not merged.is_on((H, "kernel")):
        sentence = "The configuration names no guest kernel: start from a base that has one."
        yield Problem(table=H, key="kernel", sentence=sentence)
    if merged.is_on((H, "image")) or merged.is_on((H, "initrd")):
        return
    what = "image" if merged.hypervisor == FIRECRACKER else "image and no initrd"
    sentence = f"The configuration names no guest {what}: start from a base that has one."
    yield Problem(table=H, key="image", sentence=sentence)


def _programs(merged: Merged) -> Iterator[Problem]:
    if merged.hypervisor == FIRECRACKER and not merged.is_on((H, "path")):
        sentence = "The configuration names no firecracker program, and Kata has no default."
        yield Problem(table=H, key="path", sentence=sentence)
    shares = merged.get((H, "shared_fs")) in ("virtio-fs", "virtio-fs-nydus")
    if shares and not merged.is_on((H, "virtio_fs_daemon")):
        sentence = f"shared_fs = {merged.get((H, 'shared_fs'))!r} needs a virtio_fs_daemon."
        others = ((H, "shared_fs"),)
        yield Problem(table=H, key="virtio_fs_daemon", sentence=sentence, others=others)


def _root_disk(merged: Merged) -> Iterator[Problem]:
    if merged.hypervisor == FIRECRACKER and merged.is_on((H, "disable_block_device_use")):
        sentence = (
            "Firecracker shares no files: a container's root file system has to be a disk, which "
            "disable_block_device_use forbids."
        )
        yield Problem(table=H, key="disable_block_device_use", sentence=sentence)


def _cgroup(merged: Merged) -> Iterator[Problem]:
    asked = merged.tables[R].get("sandbox_cgroup_only")
    if merged.hypervisor == DRAGONBALL and asked is False:
        sentence = "With dragonball all processes share one cgroup: leave it out, or set true."
        yield Problem(table=R, key="sandbox_cgroup_only", sentence=sentence)


def _static_size(merged: Merged) -> Iterator[Problem]:
    if not merged.get((R, "static_sandbox_resource_mgmt")):
        return
    for key in ("default_maxvcpus", "default_maxmemory", "enable_virtio_mem"):
        if merged.is_on((H, key)):
            sentence = (
                f"{key} does nothing: the VM's size is fixed at its start, unless "
                "static_sandbox_resource_mgmt = false in the runtime block."
            )
            yield Problem(table=H, key=key, sentence=sentence, is_warning=True)


def _experimental(merged: Merged) -> Iterator[Problem]:
    if merged.get((R, "internetworking_model")) == "l3forwarding":
        sentence = "l3forwarding is experimental: IPv4 and one network device only."
        yield Problem(table=R, key="internetworking_model", sentence=sentence, is_warning=True)


_RULES: Final[tuple[Callable[[Merged], Iterator[Problem]], ...]] = (
    _not_for,
    _choices,
    _limits,
    _needs,
    _exclusive,
    _ordered,
    _boot,
    _programs,
    _root_disk,
    _cgroup,
    _static_size,
    _experimental,
    *MEM_AGENT_RULES,
)
