"""Whether the runtime block of a kata_container can work, and what needs Kata. No I/O.

Only what is known is judged: an unknown value is judged when it is known, at apply.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from kled_provider.kata.container.declared.annotations import annotation_problems
from kled_provider.kata.container.declared.guest_size import size_problems
from kled_provider.kata.owner.file import Handler, OwnerFile
from kled_provider.kata.runtime_config.merged import Merged
from kled_provider.kata.runtime_config.places import configuration_named, is_configuration_of
from kled_provider.plugin.diagnostics import Diagnostic, DiagnosticError, MapKey, Path, Severity
from kled_provider.plugin.values import UNKNOWN, Values, is_known

# Snapshotters whose root file system is a disk.
_DISKS = ("devmapper", "erofs", "blockfile")


def configuration_path(
    values: Values, owner: OwnerFile, handler: Handler, workspace_id: str
) -> str | None:
    """Return the path of the configuration that Kata is given; None: its own default.

    Raises DiagnosticError where the template names one that it must not.
    """
    named = (_block(values, "runtime") or {}).get("config")
    if not isinstance(named, str):
        return configuration_named(owner, handler.configuration)
    path: Path = ("runtime", "config")
    if not handler.is_kata:
        raise DiagnosticError.of(
            "A configuration of Kata without Kata",
            f"The handler {handler.name} is not Kata: leave `config` out.",
            path=path,
        )
    if named in owner.configurations:
        return configuration_named(owner, named)
    if not is_configuration_of(owner, workspace_id, named):
        raise DiagnosticError.of(
            "No configuration of this workspace",
            "Use the path of a kata_runtime_config of this workspace, or the name of a "
            f"configuration of the owner's file; got {named[:200]!r}.",
            path=path,
        )
    return named


def runtime_diagnostics(
    values: Values, owner: OwnerFile, handler: Handler, merged: Merged | None
) -> list[Diagnostic]:
    """Say what of a container will not work with its handler and configuration.

    `merged` is what the file of configuration_path says; None where there is no such file yet, or
    the handler is not Kata.
    """
    found = [*_devices(values, owner, handler)]
    if not handler.is_kata:
        return [*found, *_without_kata(values, owner, handler)]
    found += _annotations(values, owner, merged)
    if merged is not None:
        found += _configuration(values, owner, handler, merged)
    return found


def _annotations(values: Values, owner: OwnerFile, merged: Merged | None) -> Iterator[Diagnostic]:
    annotations = (_block(values, "runtime") or {}).get("annotations")
    if isinstance(annotations, dict):
        for name, sentence in annotation_problems(annotations, owner, merged):
            yield _error("Invalid annotation", sentence, ("runtime", "annotations", MapKey(name)))


def _configuration(
    values: Values, owner: OwnerFile, handler: Handler, merged: Merged
) -> Iterator[Diagnostic]:
    if merged.hypervisor != handler.hypervisor:
        yield _error(
            "The configuration is for another hypervisor",
            f"The handler {handler.name} runs {handler.hypervisor}, the configuration is for "
            f"{merged.hypervisor}.",
            ("runtime", "config"),
        )
        return
    memory, vcpus = values["memory"], values["vcpus"]
    if is_known([memory, vcpus]) and None not in (memory, vcpus):
        for attribute, sentence in size_problems(merged, int(memory), float(vcpus)):
            yield _error(f"Invalid {attribute}", sentence, (attribute,))
    elif (memory is None) != (vcpus is None):
        # With one limit alone Kata sizes the other by its overhead, 32 MiB or 0.2 CPUs.
        missing = "memory" if memory is None else "vcpus"
        yield _error(
            f"{missing} is not set",
            "With one limit alone Kata makes a VM that has only its overhead of the other: set "
            "both.",
        )
    if merged.get(("hypervisor", "shared_fs")) == "none":
        yield from _without_sharing(values, owner, handler)


def _without_sharing(values: Values, owner: OwnerFile, handler: Handler) -> Iterator[Diagnostic]:
    snapshotter = handler.snapshotter or owner.containerd.snapshotter
    if snapshotter not in _DISKS:
        yield _error(
            "The root file system is no disk",
            f"{handler.hypervisor} shares no files with its host, so the handler {handler.name} "
            f"needs a snapshotter of disks, such as devmapper; it has {snapshotter}.",
            ("runtime",),
        )
    for block in ("volume", "mount"):
        for index, _item in enumerate(_blocks(values, block)):
            yield Diagnostic(
                summary="Files are copied, not shared",
                detail=f"{handler.hypervisor} shares no files with its host: the directory is "
                "copied into the VM at its start, and nothing comes back.",
                path=(block, index),
                severity=Severity.WARNING,
            )


def _without_kata(values: Values, owner: OwnerFile, handler: Handler) -> Iterator[Diagnostic]:
    """A container that shares the host's kernel: what reaches the host is the owner's to allow."""
    allowed = owner.without_kata
    runtime = _block(values, "runtime") or {}
    if runtime.get("annotations"):
        yield _error(
            "Annotations for Kata without Kata",
            f"The handler {handler.name} is not Kata: leave `annotations` out.",
            ("runtime", "annotations"),
        )
    if values["privileged"] is True and not allowed.privileged:
        yield _error(
            "A privileged container without Kata",
            "It would be root on this machine. Choose a handler of Kata; or its owner sets "
            "`privileged = true` in [without_kata].",
            ("privileged",),
        )
    added = (_block(values, "capabilities") or {}).get("add")
    for index, name in enumerate(added if isinstance(added, list) else ()):
        full = name if not isinstance(name, str) or name.startswith("CAP_") else f"CAP_{name}"
        if isinstance(full, str) and full not in allowed.capabilities:
            yield _error(
                "An added capability without Kata",
                f"{name} reaches beyond the container. Choose a handler of Kata; or this machine's "
                "owner lists it in `capabilities` of [without_kata].",
                ("capabilities", "add", index),
            )


def _devices(values: Values, owner: OwnerFile, handler: Handler) -> Iterator[Diagnostic]:
    for index, device in enumerate(_blocks(values, "device")):
        name = device["name"]
        if not isinstance(name, str):
            continue
        if name not in owner.devices:
            has = ", ".join(sorted(owner.devices)) or "none"
            yield _error(
                "There is no such device",
                f"[devices] of the owner's file has {has}; got {name[:80]!r}.",
                ("device", index, "name"),
            )
        elif not handler.is_kata and name not in owner.without_kata.devices:
            yield _error(
                "A device without Kata",
                f"The container would reach {owner.devices[name]} of this machine. Choose a "
                "handler of Kata; or its owner lists it in `devices` of [without_kata].",
                ("device", index, "name"),
            )


def _block(values: Values, name: str) -> Values | None:
    found = values.get(name)
    return found if isinstance(found, dict) else None


def _blocks(values: Values, name: str) -> list[Any]:
    found = values.get(name)
    return [item for item in found if item is not UNKNOWN] if isinstance(found, list) else []


def _error(summary: str, detail: str, path: Path = ()) -> Diagnostic:
    return Diagnostic(summary=summary, detail=detail, path=path)
