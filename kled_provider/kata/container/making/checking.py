"""Whether what a template says of a container can be had on this machine.

Asked at plan, of what is known then, and once more before the container is made.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import trio

from kled_provider.containerd.api import ContainerdApi
from kled_provider.kata.container.declared.guest_size import GuestSize, size_guest
from kled_provider.kata.container.declared.runtime_rules import (
    configuration_path,
    runtime_diagnostics,
)
from kled_provider.kata.owner.file import Handler, OwnerFile, Use
from kled_provider.kata.paths.beneath import PathRefusedError, split_beneath
from kled_provider.kata.runtime_config.merged import Merged
from kled_provider.kata.runtime_config.reading import (
    ConfigFileError,
    read_merged,
    usual_configuration,
)
from kled_provider.plugin.diagnostics import Diagnostic, DiagnosticError
from kled_provider.plugin.diagnostics import Path as AttributePath
from kled_provider.plugin.values import UNKNOWN, Values

# The restart monitor of 1.6 knows these two only; 1.7 has policies and counts.
OLD_RESTARTS = ("no", "always")
_POLICIES_SINCE = (1, 7)


@dataclass(frozen=True, slots=True, kw_only=True)
class Runtime:
    """How a container is run. `configuration` is the path of Kata's; None: its own default.

    `size` is of the VM, where that is known.
    """

    handler: Handler
    configuration: str | None
    size: GuestSize | None


def choose_handler(owner: OwnerFile, values: Values) -> Handler:
    """Find the handler that a template names, or means. Raises DiagnosticError."""
    named = (values["runtime"] or {}).get("handler")
    names = ", ".join(sorted(owner.handlers)) or "none"
    if named is not None:
        if named not in owner.handlers:
            raise DiagnosticError.of(
                "There is no such handler",
                f"The owner's file of this machine has {names}; got {named!r}.",
                path=("runtime", "handler"),
            )
        return owner.handlers[named]
    if owner.default_handler:
        return owner.handlers[owner.default_handler]
    raise DiagnosticError.of(
        "The handler is not said",
        f"The owner's file has no default_handler. Set `handler` to one of these: {names}.",
        path=("runtime",),
    )


async def check_container(
    owner: OwnerFile, values: Values, workspace: str, api: ContainerdApi | None
) -> tuple[Runtime | None, list[Diagnostic]]:
    """Say how the container would be run, and what will not work. Raises HostError.

    `api` is asked for its version where the template needs a newer one. Without a known handler
    there is nothing to say yet.
    """
    if values["runtime"] is UNKNOWN or (values["runtime"] or {}).get("handler") is UNKNOWN:
        return None, []
    handler = choose_handler(owner, values)
    path = configuration_path(values, owner, handler, workspace)
    merged = None
    if handler.is_kata:
        judged = path or usual_configuration()
        merged = await trio.to_thread.run_sync(_merged, judged)
    found = runtime_diagnostics(values, owner, handler, merged)
    found += [*_paths(values, owner)]
    if api is not None and values["restart"] not in (UNKNOWN, *OLD_RESTARTS):
        found += _restart(values["restart"], (await api.daemon.version()).version)
    size = None
    if merged is not None and UNKNOWN not in (values["memory"], values["vcpus"]):
        size = size_guest(merged, int(values["memory"]), float(values["vcpus"]))
    return Runtime(handler=handler, configuration=path, size=size), found


def _merged(path: str | None) -> Merged | None:
    """What a configuration says; None where there is no file yet, which its resource makes."""
    if path is None or not Path(path).exists():
        return None
    try:
        return read_merged(path)
    except ConfigFileError as error:
        raise DiagnosticError.of(
            "The configuration cannot be read", error.message, path=("runtime",)
        ) from error


def _paths(values: Values, owner: OwnerFile) -> Iterator[Diagnostic]:
    """Paths of this machine, by their words alone: they are opened when they are used."""
    for block, attribute, use in (
        ("mount", "source", Use.MOUNT),
        ("upload", "source", Use.UPLOAD),
    ):
        roots = [place.path for place in owner.places_for(use).values()]
        for index, item in enumerate(values[block] if isinstance(values[block], list) else ()):
            named = item[attribute]
            if not isinstance(named, str):
                continue
            try:
                split_beneath(named, roots)
            except PathRefusedError as error:
                yield refused_path(error, (block, index, attribute))


def refused_path(error: PathRefusedError, path: AttributePath) -> Diagnostic:
    """Say that a path of this machine is not allowed."""
    detail = " ".join(part for part in (f"{error.message}.", error.hint) if part)
    return Diagnostic(summary="The path is not allowed", detail=detail, path=path)


def _restart(policy: str, version: str) -> Iterator[Diagnostic]:
    found = re.match(r"v?(\d+)\.(\d+)", version)
    if found is not None and (int(found[1]), int(found[2])) >= _POLICIES_SINCE:
        return
    yield Diagnostic(
        summary="The restart policy needs a newer containerd",
        detail=f"{policy!r} needs containerd 1.7; this machine has {version}, which knows "
        f"{' and '.join(OLD_RESTARTS)}.",
        path=("restart",),
    )
