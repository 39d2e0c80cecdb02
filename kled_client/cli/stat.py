"""`kled stat`: what this workspace, or its host, uses of processor, memory and disk."""

from __future__ import annotations

import time
from pathlib import Path

import click
import psutil

from kled_client.cli.context import Invocation, pass_invocation
from kled_client.stat.cgroup import our_group
from kled_wire.errors import InputError

_SAMPLE_S = 0.5
_GIB = 2**30
_host = click.option("--host", is_flag=True, help="Show the whole machine, not the control group.")


@click.group()
def stat() -> None:
    """Show what is in use where this command runs, within the limits of its control group."""


@stat.command()
@_host
@pass_invocation
def cpu(invocation: Invocation, host: bool) -> None:
    """Show how many processors are in use, and how many there may be."""
    group = None if host else our_group()
    count = float(psutil.cpu_count() or 1)
    limit = (group.cpu_limit() if group else None) or count
    before = group.cpu_used_s() if group else None
    if group is None or before is None:
        used = psutil.cpu_percent(_SAMPLE_S) / 100 * count
    else:
        began = time.monotonic()
        time.sleep(_SAMPLE_S)
        used = ((group.cpu_used_s() or before) - before) / (time.monotonic() - began)
    _show(invocation, round(used, 3), round(limit, 3), "cores")


@stat.command()
@_host
@pass_invocation
def mem(invocation: Invocation, host: bool) -> None:
    """Show how much memory is in use, and how much there may be."""
    group, whole = None if host else our_group(), psutil.virtual_memory()
    limit = (group.memory_limit() if group else None) or whole.total
    used = group.memory_used() if group else None
    if used is None or (group and group.memory_limit() is None):
        used = whole.total - whole.available
    _show(invocation, used, min(limit, whole.total), "B")


@stat.command()
@click.option("--path", default="/", show_default=True, help="A directory of the file system.")
@_host
@pass_invocation
def disk(invocation: Invocation, path: str, host: bool) -> None:  # noqa: ARG001 - as the others
    """Show how much of a file system is in use, and how large it is."""
    try:
        found = psutil.disk_usage(str(Path(path)))
    except (OSError, ValueError) as exc:
        raise InputError("path_unreadable", f"{path} cannot be looked at: {exc}") from exc
    _show(invocation, found.used, found.total, "B")


def _show(invocation: Invocation, used: float, total: float, unit: str) -> None:
    """One line as `1.2/4.0 GiB (30%)`."""
    if invocation.output.as_json:
        invocation.output.json({"used": used, "total": total, "unit": unit})
        return
    percent = f"({round(100 * used / total)}%)" if total else ""
    if unit == "B":
        invocation.output.line(f"{used / _GIB:.1f}/{total / _GIB:.1f} GiB {percent}")
    else:
        invocation.output.line(f"{used:.2g}/{total:g} {unit} {percent}")
