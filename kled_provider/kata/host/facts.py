"""What a machine has for containers and VMs, and what will not work there and why. No I/O.

`examine.py` finds the facts; each check looks at them and says what does not work, or nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from kled_provider.kata.owner.file import Handler, OwnerFile
from kled_provider.kata.runtime_config.merged import H, M, Merged
from kled_provider.kata.runtime_config.problem import Problem

# The plugins that kata_network runs.
CNI_PLUGINS: Final = ("bridge", "firewall", "host-local", "loopback", "portmap")
# The first one whose mem-agent starts reliably.
MEM_AGENT_SINCE: Final = (4, 1)
_POLICIES_SINCE: Final = (1, 7)


@dataclass(frozen=True, slots=True, kw_only=True)
class HandlerFacts:
    """What is found of one handler.

    `shim` is the program's path, "" where there is none; `version` what it says, "" without Kata.
    `merged` is its configuration, None where `configuration_error` says why there is none;
    `problems` are what Kata finds wrong with it when a VM starts.
    """

    handler: Handler
    shim: str
    version: str = ""
    merged: Merged | None = None
    configuration_error: str = ""
    problems: tuple[Problem, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineFacts:
    """What is found of the machine. Sizes are whole MiB; `containerd_error` is "" where it works.

    `snapshotters` are those that containerd has loaded.
    """

    kernel: str
    cpus: int
    memory_mib: int
    shm_mib: int
    hugepages: int
    hugepage_kib: int
    overcommit_memory: int
    is_root: bool
    has_kvm: bool
    kvm_error: str
    has_vhost_vsock: bool
    has_vhost_net: bool
    has_mkswap: bool
    passthrough_devices: tuple[str, ...]
    cni_plugins: frozenset[str]
    containerd_version: str
    containerd_error: str
    snapshotters: tuple[str, ...]
    handlers: tuple[HandlerFacts, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class HostProblem:
    """Something that will not work. `what` is it, `why` the reason, `hint` what to do.

    `is_fatal`: a container that needs it does not start; otherwise it is a limit to know of.
    """

    what: str
    why: str
    hint: str = ""
    is_fatal: bool = True


def version_of(text: str) -> tuple[int, ...]:
    """Read a version such as 4.1.0 or v1.7.2~ds1; () where it is none."""
    numbers: list[int] = []
    for part in text.removeprefix("v").split(".")[:3]:
        digits = part[: len(part) - len(part.lstrip("0123456789"))]
        if not digits:
            break
        numbers.append(int(digits))
    return tuple(numbers)


def mem_agent_problem(version: str) -> str | None:
    """Say why the mem-agent must not be turned on with a version of Kata; "" is not known."""
    found = version_of(version)
    if not found or found >= MEM_AGENT_SINCE:
        return None
    return f"In Kata {version} the mem-agent may end the guest's agent at its start: use 4.1.0."


def host_problems(facts: MachineFacts, owner: OwnerFile) -> list[HostProblem]:
    """Say what will not work on this machine, in the order in which one would mend it."""
    found = [problem for check in _MACHINE for problem in check(facts, owner)]
    for handler in facts.handlers:
        found += [problem for check in _HANDLER for problem in check(facts, handler)]
    return found


# --- the machine


def _root(facts: MachineFacts, _owner: OwnerFile) -> Iterator[HostProblem]:
    if not facts.is_root:
        yield HostProblem(
            what="the provider",
            why="it does not run as root",
            hint="containerd and networks need it",
        )


def _containerd(facts: MachineFacts, owner: OwnerFile) -> Iterator[HostProblem]:
    if facts.containerd_error:
        yield HostProblem(
            what="containers",
            why=facts.containerd_error,
            hint="apt install containerd, or correct [containerd] in the owner's file",
        )
        return
    if version_of(facts.containerd_version) < _POLICIES_SINCE:
        yield HostProblem(
            what='restart = "on-failure"',
            why=f"containerd {facts.containerd_version} knows no and always only",
            hint="containerd 1.7 has it",
            is_fatal=False,
        )
    wanted = {owner.containerd.snapshotter}
    wanted |= {one.snapshotter for one in owner.handlers.values() if one.snapshotter}
    for name in sorted(wanted - set(facts.snapshotters)):
        yield HostProblem(
            what=f"the snapshotter {name}",
            why=f"containerd has {', '.join(facts.snapshotters) or 'none'}",
            hint="set it up in containerd's configuration, or name another in the owner's file",
        )


def _networks(facts: MachineFacts, owner: OwnerFile) -> Iterator[HostProblem]:
    missing = [name for name in CNI_PLUGINS if name not in facts.cni_plugins]
    if missing:
        yield HostProblem(
            what="kata_network",
            why=f"no CNI plugin {', '.join(missing)} in "
            f"{', '.join(owner.networks.plugin_directories)}",
            hint="apt install containernetworking-plugins",
        )


def _handlers(facts: MachineFacts, owner: OwnerFile) -> Iterator[HostProblem]:
    if not owner.handlers:
        yield HostProblem(
            what="kata_container",
            why="the owner's file names no handler",
            hint="docs/kata.md has a file to begin with",
        )
    elif not facts.passthrough_devices and any(h.is_kata for h in owner.handlers.values()):
        yield HostProblem(
            what="devices passed through to a VM",
            why="no device is bound to vfio-pci",
            is_fatal=False,
        )


_MACHINE: Final[tuple[Callable[[MachineFacts, OwnerFile], Iterator[HostProblem]], ...]] = (
    _root,
    _containerd,
    _networks,
    _handlers,
)


# --- one handler


def _shim(_facts: MachineFacts, found: HandlerFacts) -> Iterator[HostProblem]:
    if not found.shim:
        yield HostProblem(
            what=_named(found),
            why=f"there is no shim for {found.handler.runtime}",
            hint="docs/kata.md says how to install Kata" if found.handler.is_kata else "",
        )


def _kvm(facts: MachineFacts, found: HandlerFacts) -> Iterator[HostProblem]:
    if found.handler.is_kata and not facts.has_kvm:
        yield HostProblem(
            what=_named(found),
            why=f"VMs need KVM: {facts.kvm_error}",
            hint="turn virtualisation on in the firmware, or in the host of this VM (nested)",
        )


def _vsock(facts: MachineFacts, found: HandlerFacts) -> Iterator[HostProblem]:
    if found.handler.hypervisor == "qemu" and not facts.has_vhost_vsock:
        yield HostProblem(
            what=_named(found),
            why="qemu reaches the guest's agent by /dev/vhost-vsock, which is not there",
            hint="modprobe vhost_vsock; or a handler of clh, which does without",
        )


def _configuration(_facts: MachineFacts, found: HandlerFacts) -> Iterator[HostProblem]:
    if found.configuration_error:
        yield HostProblem(what=_named(found), why=found.configuration_error)
    for problem in found.problems:
        yield HostProblem(what=_named(found), why=f"{problem.key}: {problem.sentence.rstrip('.')}")


def _mem_agent(_facts: MachineFacts, found: HandlerFacts) -> Iterator[HostProblem]:
    why = mem_agent_problem(found.version)
    if why is not None:
        is_on = found.merged is not None and bool(found.merged.get((M, "enable")))
        yield HostProblem(
            what=f"the mem-agent with {_named(found)}", why=why.rstrip("."), is_fatal=is_on
        )


def _devices(facts: MachineFacts, found: HandlerFacts) -> Iterator[HostProblem]:
    """What the configuration asks of the machine, and what a template could not ask."""
    if not found.handler.is_kata:
        return
    wanted = [
        (
            not facts.has_vhost_net and found.handler.hypervisor == "qemu",
            "disable_vhost_net",
            "disable_vhost_net = false",
            "there is no /dev/vhost-net",
            "set disable_vhost_net = true",
        ),
        (
            not facts.hugepages,
            "enable_hugepages",
            "enable_hugepages = true",
            "the machine has no huge pages",
            "set vm.nr_hugepages",
        ),
        (
            facts.overcommit_memory != 1,
            "enable_virtio_mem",
            "enable_virtio_mem = true",
            f"vm.overcommit_memory is {facts.overcommit_memory}",
            "set it to 1",
        ),
        (
            not facts.has_mkswap and found.handler.hypervisor in ("clh", "dragonball"),
            "enable_guest_swap",
            "enable_guest_swap = true",
            "there is no mkswap",
            "apt install util-linux",
        ),
    ]
    for lacks, key, what, why, hint in wanted:
        if lacks:
            asked = found.merged is not None and bool(found.merged.get((H, key)))
            is_fatal = asked != (key == "disable_vhost_net")
            yield HostProblem(
                what=f"{what} with {_named(found)}",
                why=why,
                hint=hint,
                is_fatal=is_fatal and found.merged is not None,
            )


def _shared_memory(facts: MachineFacts, found: HandlerFacts) -> Iterator[HostProblem]:
    if found.handler.hypervisor == "qemu" and facts.shm_mib < facts.memory_mib:
        yield HostProblem(
            what=f"more than {facts.shm_mib} MiB of memory for all VMs of {_named(found)}",
            why="qemu keeps the memory of VMs that share files in /dev/shm; a VM that finds it "
            "full is killed",
            hint="mount -o remount,size=... /dev/shm; or a handler of clh",
            is_fatal=False,
        )


_HANDLER: Final[tuple[Callable[[MachineFacts, HandlerFacts], Iterator[HostProblem]], ...]] = (
    _shim,
    _kvm,
    _vsock,
    _configuration,
    _mem_agent,
    _devices,
    _shared_memory,
)


def _named(found: HandlerFacts) -> str:
    return f"the handler {found.handler.name}"
