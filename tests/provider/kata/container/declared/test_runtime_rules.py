"""What of a container's runtime block cannot work, in the exact words."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from kled_provider.kata.container.declared.guest_size import GuestSize, size_guest
from kled_provider.kata.container.declared.runtime_rules import (
    configuration_path,
    runtime_diagnostics,
)
from kled_provider.kata.owner.file import Configuration, Containerd, Handler, OwnerFile, WithoutKata
from kled_provider.kata.runtime_config.merged import Merged
from kled_provider.kata.runtime_config.tables import tables_of
from kled_provider.plugin.diagnostics import DiagnosticError, MapKey, Severity
from kled_provider.plugin.values import UNKNOWN, Values

RUNC = Handler(name="runc", runtime="io.containerd.runc.v2")
HANDLERS = {
    kind: Handler(name=f"kata-{kind}", runtime="io.containerd.kata.v2", hypervisor=kind)
    for kind in ("qemu", "clh", "dragonball", "firecracker")
}
OWNER = OwnerFile(
    state_directory="/state",
    devices={"fuse": "/dev/fuse", "kvm": "/dev/kvm"},
    configurations={"clh": Configuration(name="clh", path="/opt/clh.toml")},
    without_kata=WithoutKata(
        capabilities=frozenset({"CAP_SYS_PTRACE"}), devices=frozenset({"fuse"})
    ),
    allowed={"hypervisor": {"kernel": ("/k",), "virtio_fs_extra_args": ("-o", "flock")}},
)
SHARES = {"shared_fs": "virtio-fs", "enable_annotations": ["kernel_params", "enable_iommu"]}


def values(**changes: Any) -> Values:
    plain = {"runtime": None, "memory": 2048, "vcpus": 1, "privileged": None, "capabilities": None}
    return {**plain, "device": [], "volume": [], "mount": [], **changes}


def merged(kind: str, *, static: bool = True, **of_hypervisor: Any) -> Merged:
    tables = tables_of(kind, {})
    tables["hypervisor"] = {**SHARES, "default_memory": 2048, **of_hypervisor}
    tables["runtime"] = {"static_sandbox_resource_mgmt": static}
    return Merged(kind, tables)


def told(
    given: Values, kind: str | None = "clh", owner: OwnerFile = OWNER, **of_hypervisor: Any
) -> list[tuple[Any, str, str]]:
    handler = HANDLERS[kind] if kind else RUNC
    configuration = merged(kind, **of_hypervisor) if kind else None
    found = runtime_diagnostics(given, owner, handler, configuration)
    return [(d.path, d.summary, d.detail) for d in found]


def annotated(name: str, value: Any = "true") -> Values:
    return values(runtime={"annotations": {name: value}})


@pytest.mark.parametrize("kind", ["qemu", "clh", "dragonball"])
def test_a_plain_container_of_kata_has_no_problem(kind: str) -> None:
    given = values(privileged=True, capabilities={"add": ["NET_ADMIN"]}, device=[{"name": "kvm"}])
    assert told(given, kind) == []


def test_unknown_values_are_not_judged() -> None:
    given = values(runtime=UNKNOWN, memory=UNKNOWN, vcpus=UNKNOWN, privileged=UNKNOWN)
    given |= {"capabilities": {"add": UNKNOWN}, "device": [{"name": UNKNOWN}], "volume": UNKNOWN}
    assert told(given) == told(given, None) == []


# --- without Kata


def test_what_reaches_the_host_needs_kata_or_its_owner() -> None:
    given = values(
        privileged=True,
        capabilities={"add": ["SYS_PTRACE", "NET_ADMIN", "ALL"]},
        device=[{"name": "fuse"}, {"name": "kvm"}, {"name": "sda"}],
        runtime={"annotations": {"io.katacontainers.config.hypervisor.kernel_params": "quiet"}},
    )
    assert told(given, None) == [
        (
            ("device", 1, "name"),
            "A device without Kata",
            (
                "The container would reach /dev/kvm of this machine. Choose a handler of Kata; or "
                "its owner lists it in `devices` of [without_kata]."
            ),
        ),
        (
            ("device", 2, "name"),
            "There is no such device",
            "[devices] of the owner's file has fuse, kvm; got 'sda'.",
        ),
        (
            ("runtime", "annotations"),
            "Annotations for Kata without Kata",
            "The handler runc is not Kata: leave `annotations` out.",
        ),
        (
            ("privileged",),
            "A privileged container without Kata",
            (
                "It would be root on this machine. Choose a handler of Kata; or its owner sets "
                "`privileged = true` in [without_kata]."
            ),
        ),
        *(
            (
                ("capabilities", "add", index),
                "An added capability without Kata",
                (
                    f"{name} reaches beyond the container. Choose a handler of Kata; or this "
                    "machine's owner lists it in `capabilities` of [without_kata]."
                ),
            )
            for index, name in ((1, "NET_ADMIN"), (2, "ALL"))
        ),
    ]
    allowed = replace(OWNER, without_kata=WithoutKata(privileged=True))
    assert told(values(privileged=True), None, allowed) == []


# --- annotations

HYPERVISOR = "io.katacontainers.config.hypervisor."
RUNTIME = "io.katacontainers.config.runtime."
ANNOTATIONS = {
    ("io.katacontainers.config_path", "/x"): (
        "Kata has no such annotation: set `config` in the runtime block to the path of a "
        "kata_runtime_config."
    ),
    (f"{RUNTIME}sandbox_bind_mounts", "/x"): (
        "Kata takes it from a configuration only: set it in a kata_runtime_config."
    ),
    (f"{RUNTIME}name", "virt-container"): (
        "Kata takes no runtime that it can start under this annotation: leave it out."
    ),
    (f"{RUNTIME}hypervisor_name", "qemu"): (
        "The handler says which hypervisor runs: choose another handler."
    ),
    (f"{HYPERVISOR}default_memory", "4096"): (
        "It has no effect beside limits, which are always set: set `memory`."
    ),
    ("io.katacontainers.container.resource.swappiness", "60"): (
        "runtime-rs reads it and does nothing with it: set enable_guest_swap in a "
        "kata_runtime_config."
    ),
    (f"{HYPERVISOR}enable_hugepages", "true"): (
        "Kata would ignore it: enable_annotations of the configuration does not have "
        "'enable_hugepages'."
    ),
    (f"{HYPERVISOR}enable_hugepages", "yes"): "Use true or false; got 'yes'.",
    (f"{HYPERVISOR}network_queues", "4294967296"): (
        "Use a whole number, 0 to 4294967295; got '4294967296'."
    ),
    (f"{HYPERVISOR}kernel_params", "a\nb"): "Use text without control codes.",
    (f"{HYPERVISOR}kernal_params", "quiet"): (
        "Kata has no annotation 'io.katacontainers.config.hypervisor.kernal_params'."
    ),
    (f"{HYPERVISOR}reclaim_guest_freed_memory", "true"): (
        "Kata takes reclaim_guest_freed_memory from a configuration only: set it in a "
        "kata_runtime_config."
    ),
    ("io.katacontainers.config.agent.policy", "x"): (
        "Kata takes policy from a configuration only: set it in a kata_runtime_config."
    ),
    (f"{HYPERVISOR}kernel", "/evil"): (
        "kernel may mean root on this machine: only values that its owner lists in "
        "[allowed.hypervisor] are taken. Listed: /k."
    ),
    (f"{HYPERVISOR}virtio_fs_extra_args", "-o,sandbox=none"): (
        "virtio_fs_extra_args may mean root on this machine: only values that its owner lists in "
        "[allowed.hypervisor] are taken. Listed: -o, flock."
    ),
    (f"{HYPERVISOR}guest_hook_path", "/x"): (
        "guest_hook_path may mean root on this machine: only values that its owner lists in "
        "[allowed.hypervisor] are taken. None is listed."
    ),
    ("io.kubernetes.cri.sandbox-id", "other"): (
        "Only annotations that begin with io.katacontainers.config.hypervisor., "
        "io.katacontainers.config.runtime. or io.katacontainers.config.agent. are taken; got "
        "'io.kubernetes.cri.sandbox-id'."
    ),
}


@pytest.mark.parametrize("case", ANNOTATIONS, ids=lambda case: f"{case[0]}={case[1]!r}")
def test_an_annotation_that_kata_would_not_take(case: tuple[str, str]) -> None:
    name, value = case
    path = ("runtime", "annotations", MapKey(name))
    assert told(annotated(name, value)) == [(path, "Invalid annotation", ANNOTATIONS[case])]


def test_annotations_that_kata_takes() -> None:
    taken = {
        f"{HYPERVISOR}kernel_params": "quiet",
        f"{HYPERVISOR}enable_iommu": "true",
        f"{HYPERVISOR}enable_iommu_platform": "true",  # the expression is looked for anywhere
        f"{RUNTIME}vfio_mode": "vfio",
        "io.katacontainers.config.agent.container_pipe_size": "1",
        f"{HYPERVISOR}unknown": UNKNOWN,
    }
    assert told(values(runtime={"annotations": taken})) == []
    summary, words = "Invalid annotation", "It has no effect with dragonball."
    assert told(values(runtime={"annotations": taken}), "dragonball") == [
        (("runtime", "annotations", MapKey(f"{HYPERVISOR}{key}")), summary, words)
        for key in ("enable_iommu", "enable_iommu_platform")
    ]


ALL: dict[str, Any] = {"enable_annotations": [".*"]}
PARAMETERS = "kernel_params"
# What would be refused, lost or fatal only once the annotation is over the configuration.
EFFECTS = {
    (f"{HYPERVISOR}pcie_root_port", "17"): "Use a whole number, 0 to 16; got 17.",
    (f"{HYPERVISOR}shared_fs", "inline-virtio-fs"): (
        "Use virtio-fs, virtio-fs-nydus or none with qemu; got 'inline-virtio-fs'."
    ),
    (f"{HYPERVISOR}blk_logical_sector_size", "1000"): (
        "Use 0 or a power of two, 512 to 65536 bytes; got 1000."
    ),
    (f"{HYPERVISOR}default_max_vcpus", "300"): "qemu has at most 256 vCPUs; got 300.",
    (f"{HYPERVISOR}enable_guest_swap", "true"): "It has no effect with qemu.",
    (f"{RUNTIME}vfio_mode", "other"): "Use guest-kernel or vfio; got 'other'.",
    (f"{RUNTIME}disable_new_netns", "true"): (
        'disable_new_netns works only with internetworking_model = "none".'
    ),
    (f"{HYPERVISOR}{PARAMETERS}", "agent.mem_agent_memcg_swap=true agent.mem_agent_enable=1"): (
        "agent.mem_agent_memcg_swap comes before agent.mem_agent_enable=1 and would be lost: set "
        "enable = true in the mem_agent block, or put agent.mem_agent_enable=1 first."
    ),
    (f"{HYPERVISOR}{PARAMETERS}", "agent.mem_agent_enable=1"): (
        "agent.mem_agent_enable=1 needs psi=1 beside it: Kata adds that only where enable = true "
        "in the mem_agent block, and without it the guest's agent ends at its start."
    ),
    (f"{HYPERVISOR}{PARAMETERS}", "psi=1 agent.mem_agent_enable=1 agent.mem_agent_memcg_swap=1"): (
        "Use agent.mem_agent_memcg_swap=true or agent.mem_agent_memcg_swap=false; got '1'."
    ),
    (
        f"{HYPERVISOR}{PARAMETERS}",
        "psi=1 agent.mem_agent_enable=1 agent.mem_agent_memcg_period_secs=0",
    ): (
        "agent.mem_agent_memcg_period_secs: Use a whole number, 1 to 18446744073709551615 seconds; "
        "got 0."
    ),
}


@pytest.mark.parametrize("case", EFFECTS, ids=lambda case: f"{case[0]}={case[1]!r}")
def test_an_annotation_that_makes_a_configuration_wrong(case: tuple[str, str]) -> None:
    path = ("runtime", "annotations", MapKey(case[0]))
    assert told(annotated(*case), "qemu", **ALL) == [(path, "Invalid annotation", EFFECTS[case])]


def test_annotations_are_judged_together() -> None:
    taken = {
        f"{RUNTIME}disable_new_netns": "true",
        f"{RUNTIME}internetworking_model": "none",
        f"{HYPERVISOR}{PARAMETERS}": "agent.mem_agent_compact_order=9 quiet",
    }
    before = "agent.mem_agent_compact_order=200 psi=1 agent.mem_agent_enable=1"
    given = values(runtime={"annotations": taken})
    assert told(given, "qemu", kernel_params=before, **ALL) == []


def test_an_expression_of_the_configuration_that_is_none_finds_nothing() -> None:
    given = annotated(f"{HYPERVISOR}kernel_params")
    assert len(told(given, enable_annotations=["(", 5])) == 1


# --- sizes


def test_static_sizing_adds_the_overheads() -> None:
    """facts: limit rounded up to even and 32 MiB; vCPUs and 0.2, rounded up."""
    assert size_guest(merged("clh"), 2047, 1) == GuestSize(memory_mib=2080, vcpus=2, is_fixed=True)
    assert size_guest(merged("qemu"), 512, 0.5) == GuestSize(memory_mib=544, vcpus=1, is_fixed=True)
    assert size_guest(merged("qemu"), 512, 1.8).vcpus == 2
    none = merged("clh", overhead_memory=0, overhead_vcpus=0)
    assert size_guest(none, 2048, 1) == GuestSize(memory_mib=2048, vcpus=1, is_fixed=True)


def test_a_vm_that_grows_starts_with_its_defaults() -> None:
    assert size_guest(merged("clh", static=False), 1024, 1) == GuestSize(
        memory_mib=3072, vcpus=2, is_fixed=False
    )
    limited = merged("clh", static=False, default_maxmemory=2560, default_maxvcpus=4)
    assert size_guest(limited, 1024, 8) == GuestSize(memory_mib=2560, vcpus=4, is_fixed=False)
    assert size_guest(merged("firecracker", static=False), 1024, 1) == GuestSize(
        memory_mib=2048, vcpus=1, is_fixed=True
    )


def test_a_vm_that_could_not_boot_is_refused() -> None:
    assert told(values(memory=16)) == [
        (("memory",), "Invalid memory", "The VM would have 48 MiB; clh needs at least 64.")
    ]
    assert told(values(memory=64), "firecracker", shared_fs="virtio-fs") == [
        (("memory",), "Invalid memory", "The VM would have 96 MiB; firecracker needs at least 128.")
    ]
    assert told(values(vcpus=256)) == [
        (("vcpus",), "Invalid vcpus", "The VM would have 257 vCPUs; clh has at most 256.")
    ]


def test_one_limit_alone_is_refused() -> None:
    words = (
        "With one limit alone Kata makes a VM that has only its overhead of the other: set both."
    )
    assert told(values(memory=None)) == [((), "memory is not set", words)]
    assert told(values(vcpus=None)) == [((), "vcpus is not set", words)]


# --- configurations and Firecracker


def test_a_configuration_for_another_hypervisor_is_refused() -> None:
    found = runtime_diagnostics(values(), OWNER, HANDLERS["qemu"], merged("clh"))
    assert [(d.path, d.detail) for d in found] == [
        (
            ("runtime", "config"),
            "The handler kata-qemu runs qemu, the configuration is for clh.",
        )
    ]


def test_firecracker_needs_disks_and_copies_files() -> None:
    given = values(volume=[{"target": "/home"}])
    found = runtime_diagnostics(
        given, OWNER, HANDLERS["firecracker"], merged("firecracker", shared_fs="none")
    )
    assert [(d.path, d.severity, d.detail) for d in found] == [
        (
            ("runtime",),
            Severity.ERROR,
            (
                "firecracker shares no files with its host, so the handler kata-firecracker needs "
                "a snapshotter of disks, such as devmapper; it has overlayfs."
            ),
        ),
        (
            ("volume", 0),
            Severity.WARNING,
            (
                "firecracker shares no files with its host: the directory is copied into the VM at "
                "its start, and nothing comes back."
            ),
        ),
    ]
    disks = replace(OWNER, containerd=Containerd(snapshotter="devmapper"))
    assert told(values(), "firecracker", disks, shared_fs="none") == []


OWN = "/state/configurations/w-1/dev/configuration.toml"
TAKEN = {None: None, OWN: OWN, "clh": "/opt/clh.toml", UNKNOWN: None}


@pytest.mark.parametrize("named", TAKEN, ids=str)
def test_a_configuration_is_one_of_the_workspace_s_or_the_owner_s(named: Any) -> None:
    given = values(runtime={"config": named})
    assert configuration_path(given, OWNER, HANDLERS["clh"], "w-1") == TAKEN[named]


def test_the_handler_s_own_configuration_is_the_default() -> None:
    handler = replace(HANDLERS["clh"], configuration="clh")
    assert configuration_path(values(), OWNER, handler, "w-1") == "/opt/clh.toml"


@pytest.mark.parametrize(
    "named",
    [
        "/etc/passwd",
        "/state/configurations/w-2/dev/configuration.toml",
        "/state/configurations/w-1/../w-2/configuration.toml",
        "/state/configurations/w-1/configuration.toml",
        "/opt/clh.toml",
    ],
)
def test_any_other_path_is_refused(named: str) -> None:
    with pytest.raises(DiagnosticError) as error:
        configuration_path(values(runtime={"config": named}), OWNER, HANDLERS["clh"], "w-1")
    (found,) = error.value.diagnostics
    assert found.path == ("runtime", "config")
    assert found.detail == (
        "Use the path of a kata_runtime_config of this workspace, or the name of a configuration "
        f"of the owner's file; got {named!r}."
    )


def test_a_configuration_without_kata_is_refused() -> None:
    with pytest.raises(DiagnosticError) as error:
        configuration_path(values(runtime={"config": OWN}), OWNER, RUNC, "w-1")
    assert error.value.diagnostics[0].detail == "The handler runc is not Kata: leave `config` out."
