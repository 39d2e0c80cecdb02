"""What will not work on a machine, and why, in the exact words."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from kled_provider.kata.host.facts import (
    HandlerFacts,
    HostProblem,
    MachineFacts,
    host_problems,
    mem_agent_problem,
    version_of,
)
from kled_provider.kata.owner.file import Handler, OwnerFile
from kled_provider.kata.runtime_config.merged import Merged
from kled_provider.kata.runtime_config.problem import Problem
from kled_provider.kata.runtime_config.tables import tables_of

CLH = Handler(name="vm", runtime="io.containerd.kata.v2", hypervisor="clh", configuration="clh")
QEMU = replace(CLH, name="vm", hypervisor="qemu")
SHIM = "/opt/kata/runtime-rs/bin/containerd-shim-kata-v2"
SOUND = MachineFacts(
    kernel="6.12.1",
    cpus=8,
    memory_mib=32000,
    shm_mib=32000,
    hugepages=512,
    hugepage_kib=2048,
    overcommit_memory=1,
    is_root=True,
    has_kvm=True,
    kvm_error="",
    has_vhost_vsock=True,
    has_vhost_net=True,
    has_mkswap=True,
    passthrough_devices=("0000:01:00.0",),
    cni_plugins=frozenset({"bridge", "firewall", "host-local", "loopback", "portmap"}),
    containerd_version="1.7.24",
    containerd_error="",
    snapshotters=("overlayfs",),
    handlers=(),
)


def told(facts: MachineFacts, handler: Handler = CLH, **of: Any) -> list[HostProblem]:
    on = of.pop("on", ())
    merged = Merged(
        "clh",
        {**tables_of("clh", {}), "hypervisor": dict.fromkeys(on, True), "agent.mem_agent": {}},
    )
    values = {"shim": SHIM, "version": "4.1.0", "merged": merged, **of}
    found = HandlerFacts(handler=handler, **values)
    return host_problems(replace(facts, handlers=(found,)), OwnerFile(handlers={"vm": handler}))


def test_a_sound_machine_has_no_problem() -> None:
    assert told(SOUND) == told(SOUND, QEMU) == []


LACKS: dict[str, tuple[dict[str, Any], HostProblem]] = {
    "root": (
        {"is_root": False},
        HostProblem(
            what="the provider",
            why="it does not run as root",
            hint="containerd and networks need it",
        ),
    ),
    "containerd": (
        {"containerd_error": "There is no containerd at /s: refused"},
        HostProblem(
            what="containers",
            why="There is no containerd at /s: refused",
            hint="apt install containerd, or correct [containerd] in the owner's file",
        ),
    ),
    "containerd 1.6": (
        {"containerd_version": "1.6.20~ds1"},
        HostProblem(
            what='restart = "on-failure"',
            why="containerd 1.6.20~ds1 knows no and always only",
            hint="containerd 1.7 has it",
            is_fatal=False,
        ),
    ),
    "snapshotter": (
        {"snapshotters": ("native",)},
        HostProblem(
            what="the snapshotter overlayfs",
            why="containerd has native",
            hint="set it up in containerd's configuration, or name another in the owner's file",
        ),
    ),
    "CNI": (
        {"cni_plugins": frozenset({"bridge", "firewall", "loopback"})},
        HostProblem(
            what="kata_network",
            why="no CNI plugin host-local, portmap in /opt/cni/bin, /usr/lib/cni",
            hint="apt install containernetworking-plugins",
        ),
    ),
    "KVM": (
        {"has_kvm": False, "kvm_error": "/dev/kvm: No such file or directory"},
        HostProblem(
            what="the handler vm",
            why="VMs need KVM: /dev/kvm: No such file or directory",
            hint="turn virtualisation on in the firmware, or in the host of this VM (nested)",
        ),
    ),
    "VFIO": (
        {"passthrough_devices": ()},
        HostProblem(
            what="devices passed through to a VM",
            why="no device is bound to vfio-pci",
            is_fatal=False,
        ),
    ),
    "huge pages": (
        {"hugepages": 0},
        HostProblem(
            what="enable_hugepages = true with the handler vm",
            why="the machine has no huge pages",
            hint="set vm.nr_hugepages",
            is_fatal=False,
        ),
    ),
    "overcommit": (
        {"overcommit_memory": 0},
        HostProblem(
            what="enable_virtio_mem = true with the handler vm",
            why="vm.overcommit_memory is 0",
            hint="set it to 1",
            is_fatal=False,
        ),
    ),
    "mkswap": (
        {"has_mkswap": False},
        HostProblem(
            what="enable_guest_swap = true with the handler vm",
            why="there is no mkswap",
            hint="apt install util-linux",
            is_fatal=False,
        ),
    ),
}


@pytest.mark.parametrize("name", LACKS)
def test_what_a_machine_lacks_is_told(name: str) -> None:
    lacks, problem = LACKS[name]
    assert told(replace(SOUND, **lacks)) == [problem]


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("huge pages", "enable_hugepages"),
        ("overcommit", "enable_virtio_mem"),
        ("mkswap", "enable_guest_swap"),
    ],
)
def test_what_the_configuration_asks_for_and_is_not_there_is_fatal(name: str, key: str) -> None:
    lacks, problem = LACKS[name]
    assert told(replace(SOUND, **lacks), on=[key]) == [replace(problem, is_fatal=True)]


def test_what_qemu_needs_besides() -> None:
    lacking = replace(SOUND, has_vhost_vsock=False, has_vhost_net=False, shm_mib=16000)
    assert told(lacking) == []
    assert told(lacking, QEMU) == [
        HostProblem(
            what="the handler vm",
            why="qemu reaches the guest's agent by /dev/vhost-vsock, which is not there",
            hint="modprobe vhost_vsock; or a handler of clh, which does without",
        ),
        HostProblem(
            what="disable_vhost_net = false with the handler vm",
            why="there is no /dev/vhost-net",
            hint="set disable_vhost_net = true",
        ),
        HostProblem(
            what="more than 16000 MiB of memory for all VMs of the handler vm",
            why="qemu keeps the memory of VMs that share files in /dev/shm; a VM that finds it "
            "full is killed",
            hint="mount -o remount,size=... /dev/shm; or a handler of clh",
            is_fatal=False,
        ),
    ]
    assert len(told(lacking, QEMU, on=["disable_vhost_net"])) == 3
    assert not told(lacking, QEMU, on=["disable_vhost_net"])[1].is_fatal


def test_what_is_wrong_with_a_handler() -> None:
    assert told(SOUND, shim="") == [
        HostProblem(
            what="the handler vm",
            why="there is no shim for io.containerd.kata.v2",
            hint="docs/kata.md says how to install Kata",
        )
    ]
    missing = Problem(table="hypervisor", key="image", sentence="There is no '/i' on this machine.")
    assert told(SOUND, configuration_error="/c: there is no such file", problems=(missing,)) == [
        HostProblem(what="the handler vm", why="/c: there is no such file"),
        HostProblem(what="the handler vm", why="image: There is no '/i' on this machine"),
    ]
    assert told(SOUND, version="4.0.0") == [
        HostProblem(
            what="the mem-agent with the handler vm",
            why="In Kata 4.0.0 the mem-agent may end the guest's agent at its start: use 4.1.0",
            is_fatal=False,
        )
    ]


def test_no_handler_at_all() -> None:
    assert host_problems(SOUND, OwnerFile()) == [
        HostProblem(
            what="kata_container",
            why="the owner's file names no handler",
            hint="docs/kata.md has a file to begin with",
        )
    ]


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("4.1.0", (4, 1, 0)),
        ("v1.7.2", (1, 7, 2)),
        ("1.6.20~ds1", (1, 6, 20)),
        ("", ()),
        ("dev", ()),
        ("2.x", (2,)),
    ],
)
def test_versions_are_read(text: str, version: tuple[int, ...]) -> None:
    assert version_of(text) == version


def test_the_mem_agent_needs_4_1() -> None:
    assert mem_agent_problem("4.1.0") is mem_agent_problem("") is mem_agent_problem("5.0") is None
    assert mem_agent_problem("4.0.9") is not None
