"""Finds out what this machine has. Changes nothing, and starts nothing but `SHIM --version`."""

from __future__ import annotations

import fcntl
import os
import platform
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import trio

from kled_provider.containerd.caller import ContainerdError
from kled_provider.kata.host.facts import HandlerFacts, MachineFacts
from kled_provider.kata.host.shims import find_shim, shim_version
from kled_provider.kata.machine import KataMachine
from kled_provider.kata.owner.file import Handler, OwnerFile
from kled_provider.kata.runtime_config.merged import Merged
from kled_provider.kata.runtime_config.places import configuration_named
from kled_provider.kata.runtime_config.problem import Problem
from kled_provider.kata.runtime_config.reading import (
    USUAL_PATHS,
    ConfigFileError,
    missing_files,
    read_merged,
    usual_configuration,
)
from kled_provider.kata.runtime_config.rules import key_problems, problems

_SNAPSHOTTERS: Final = "io.containerd.snapshotter.v1"
_ASK_S: Final = 5.0
_KVM_GET_API_VERSION: Final = 0xAE00  # linux/kvm.h
_KVM_API: Final = 12


async def examine_machine(machine: KataMachine) -> tuple[MachineFacts, OwnerFile]:
    """Find the facts. Raises OwnerFileError."""
    owner = machine.owner()
    version, error, snapshotters = await _ask_containerd(machine)
    handlers = [await _handler(handler, owner) for handler in owner.handlers.values()]
    kvm_error = _kvm()
    memory = _numbers("/proc/meminfo")
    shm = _size_mib("/dev/shm")  # noqa: S108 - looked at
    facts = MachineFacts(
        kernel=platform.release(),
        cpus=os.cpu_count() or 1,
        memory_mib=memory.get("MemTotal", 0) // 1024,
        shm_mib=shm,
        hugepages=memory.get("HugePages_Total", 0),
        hugepage_kib=memory.get("Hugepagesize", 0),
        overcommit_memory=_number("/proc/sys/vm/overcommit_memory"),
        is_root=os.geteuid() == 0,
        has_kvm=not kvm_error,
        kvm_error=kvm_error,
        has_vhost_vsock=Path("/dev/vhost-vsock").exists(),  # noqa: ASYNC240 - devtmpfs
        has_vhost_net=Path("/dev/vhost-net").exists(),  # noqa: ASYNC240
        has_mkswap=shutil.which("mkswap") is not None,
        passthrough_devices=_passthrough(),
        cni_plugins=_plugins(owner),
        containerd_version=version,
        containerd_error=error,
        snapshotters=snapshotters,
        handlers=tuple(handlers),
    )
    return facts, owner


async def _ask_containerd(machine: KataMachine) -> tuple[str, str, tuple[str, ...]]:
    try:
        with trio.fail_after(_ASK_S):
            api = await machine.containerd()
            version = (await api.daemon.version()).version
            plugins = await api.daemon.plugins(f"type=={_SNAPSHOTTERS}")
    except ContainerdError as error:
        return "", error.message, ()
    except trio.TooSlowError:
        return "", f"containerd does not answer within {_ASK_S:.0f} s", ()
    loaded = sorted(plugin.id for plugin in plugins if not plugin.error)
    return version, "", tuple(loaded)


async def _handler(handler: Handler, owner: OwnerFile) -> HandlerFacts:
    shim = find_shim(handler.runtime)
    found = HandlerFacts(handler=handler, shim=shim)
    if not handler.is_kata:
        return found
    version = await shim_version(shim) if shim else ""
    path = configuration_named(owner, handler.configuration) or usual_configuration()
    if path is None:
        where = ", ".join(USUAL_PATHS)
        wrong = f"it names no configuration, and Kata finds none of its own in {where}"
        return HandlerFacts(handler=handler, shim=shim, version=version, configuration_error=wrong)
    try:
        merged = await trio.to_thread.run_sync(read_merged, path)
    except ConfigFileError as error:
        return HandlerFacts(
            handler=handler, shim=shim, version=version, configuration_error=error.message
        )
    wrong = ""
    if merged.hypervisor != handler.hypervisor:
        wrong = f"{path} is for {merged.hypervisor}, the handler for {handler.hypervisor}"
    return HandlerFacts(
        handler=handler,
        shim=shim,
        version=version,
        merged=merged,
        configuration_error=wrong,
        problems=(*missing_files(merged), *_refused(merged)),
    )


def _refused(merged: Merged) -> Iterator[Problem]:
    """What Kata refuses of a configuration, even of a shipped one (Firecracker's of 4.1.0)."""
    if wrong := list(key_problems(merged.tables)):
        yield from wrong
        return
    for problem in problems(merged.hypervisor, merged.tables):
        if not problem.is_warning:
            yield problem


def _kvm() -> str:
    """Say why there is no KVM; "" where there is."""
    try:
        descriptor = os.open("/dev/kvm", os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        return f"/dev/kvm: {error.strerror}"
    try:
        version = fcntl.ioctl(descriptor, _KVM_GET_API_VERSION, 0)
    except OSError as error:
        return f"/dev/kvm: {error.strerror}"
    finally:
        os.close(descriptor)
    if version != _KVM_API:
        return f"/dev/kvm has version {version} of its interface"
    # A KVM without either works in software, far too slowly to boot a guest.
    flags = _text("/proc/cpuinfo")
    if platform.machine() == "x86_64" and not re.search(r"\b(vmx|svm)\b", flags):
        return "the processor shows neither VMX nor SVM"
    return ""


def _passthrough() -> tuple[str, ...]:
    """The PCI devices that are bound to vfio-pci, by address."""
    driver = Path("/sys/bus/pci/drivers/vfio-pci")
    if not driver.is_dir():
        return ()
    return tuple(sorted(entry.name for entry in driver.iterdir() if ":" in entry.name))


def _plugins(owner: OwnerFile) -> frozenset[str]:
    directories = [Path(path) for path in owner.networks.plugin_directories]
    return frozenset(
        entry.name for path in directories if path.is_dir() for entry in path.iterdir()
    )


def _size_mib(path: str) -> int:
    try:
        found = os.statvfs(path)
    except OSError:
        return 0
    return found.f_blocks * found.f_frsize // 2**20


def _numbers(path: str) -> dict[str, int]:
    """The lines `Name: 123 kB` of proc(5), by name."""
    return {m[1]: int(m[2]) for m in re.finditer(r"^(\w+): +(\d+)", _text(path), re.MULTILINE)}


def _number(path: str) -> int:
    text = _text(path).strip()
    return int(text) if text.isdecimal() else 0


def _text(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
