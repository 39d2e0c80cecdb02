"""Data source `kata_host`, and the same as lines for a person."""

from __future__ import annotations

from collections.abc import Mapping

from kled_provider.kata.host.examine import examine_machine
from kled_provider.kata.host.facts import MachineFacts, host_problems
from kled_provider.kata.machine import KataMachine
from kled_provider.kata.owner.file import OwnerFile
from kled_provider.plugin.resource import Context, DataSource
from kled_provider.plugin.schema import (
    BOOL,
    NUMBER,
    STRING,
    Schema,
    computed,
    list_of,
    object_of,
)
from kled_provider.plugin.values import Values

SCHEMA = Schema(
    description="What this machine can do, and what will not work here and why.",
    attributes=(
        computed("containerd_version", "Version of containerd; empty where none answers."),
        computed("snapshotters", "Snapshotters that containerd has.", list_of(STRING)),
        computed(
            "handlers",
            "Handlers of the owner's file: name, runtime, path of the shim (empty: none), "
            "hypervisor and version of Kata (empty: it is not Kata).",
            list_of(
                object_of(
                    dict.fromkeys(("name", "runtime", "shim", "hypervisor", "version"), STRING)
                )
            ),
        ),
        computed("kernel", "Release of the kernel."),
        computed("cpus", "CPUs of the machine.", NUMBER),
        computed("memory", "Memory of the machine, in MiB.", NUMBER),
        computed("shm", "Size of /dev/shm, in MiB.", NUMBER),
        computed("hugepages", "Huge pages of the machine.", NUMBER),
        computed("hugepage_size", "Size of one, in KiB.", NUMBER),
        computed("kvm", "Whether VMs can run.", BOOL),
        computed("vhost_vsock", "Whether there is /dev/vhost-vsock, which qemu needs.", BOOL),
        computed("vhost_net", "Whether there is /dev/vhost-net.", BOOL),
        computed(
            "passthrough_devices",
            "Addresses of PCI devices that are bound to vfio-pci.",
            list_of(STRING),
        ),
        computed(
            "problems",
            "What will not work: what, why, hint, and whether a container that needs it does not "
            "start (`fatal`).",
            list_of(object_of({"what": STRING, "why": STRING, "hint": STRING, "fatal": BOOL})),
        ),
    ),
)


class HostData(DataSource):
    """Looks at the machine each time it is read."""

    type_name = "kata_host"
    schema = SCHEMA

    def __init__(self, machine: KataMachine) -> None:
        self._machine = machine

    async def read(self, context: Context, config: Values) -> Values:
        """Examine the machine."""
        facts, owner = await examine_machine(self._machine)
        return {
            "containerd_version": facts.containerd_version,
            "snapshotters": list(facts.snapshotters),
            "handlers": [
                {
                    "name": found.handler.name,
                    "runtime": found.handler.runtime,
                    "shim": found.shim,
                    "hypervisor": found.handler.hypervisor or "",
                    "version": found.version,
                }
                for found in facts.handlers
            ],
            "kernel": facts.kernel,
            "cpus": facts.cpus,
            "memory": facts.memory_mib,
            "shm": facts.shm_mib,
            "hugepages": facts.hugepages,
            "hugepage_size": facts.hugepage_kib,
            "kvm": facts.has_kvm,
            "vhost_vsock": facts.has_vhost_vsock,
            "vhost_net": facts.has_vhost_net,
            "passthrough_devices": list(facts.passthrough_devices),
            "problems": [
                {"what": p.what, "why": p.why, "hint": p.hint, "fatal": p.is_fatal}
                for p in host_problems(facts, owner)
            ],
        }


def report_lines(facts: MachineFacts, owner: OwnerFile) -> list[Mapping[str, str]]:
    """Say the same in lines: `state` (ok, limit or problem), `what`, `text`, `hint`."""
    problems = host_problems(facts, owner)
    found = [
        _line("containerd", facts.containerd_version, owner.containerd.address),
        _line("kernel", facts.kernel, f"{facts.cpus} CPUs, {facts.memory_mib} MiB of memory"),
        _line("KVM", "there" if facts.has_kvm else ""),
        *(
            _line(f"handler {h.handler.name}", h.shim, h.version and f"Kata {h.version}")
            for h in facts.handlers
        ),
    ]
    return [line for line in found if line["text"]] + [
        {
            "state": "problem" if p.is_fatal else "limit",
            "what": p.what,
            "text": p.why,
            "hint": p.hint,
        }
        for p in problems
    ]


def _line(what: str, text: str, more: str = "") -> Mapping[str, str]:
    shown = f"{text} ({more})" if text and more else text
    return {"state": "ok", "what": what, "text": shown, "hint": ""}
