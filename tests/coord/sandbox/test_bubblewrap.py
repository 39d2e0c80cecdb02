"""The order of mounts, which is what hides and shows."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from kled_coord.sandbox.bubblewrap import View, bubblewrap_arguments

VIEW = View(
    links={Path("/bin"): "usr/bin"},
    shown=(Path("/usr"), Path("/etc")),
    hidden_directories=(Path("/etc/kled"), Path("/srv/data")),
    hidden_files=(Path("/etc/shadow"), Path("/root/key")),
)


def mounts(arguments: list[str]) -> list[str]:
    """What is mounted where, the latest last: a path as (option, last operand)."""
    found = []
    for index, word in enumerate(arguments):
        if word in {"--ro-bind", "--bind", "--symlink"}:
            found.append(f"{word} {arguments[index + 2]}")
        elif word == "--tmpfs":
            found.append(f"{word} {arguments[index + 1]}")
    return found


def test_a_directory_is_mounted_before_what_lies_in_it() -> None:
    view = replace(VIEW, shown=(*VIEW.shown, Path("/root/.pyenv")))
    writable = {Path("/etc/kled/runs/1"): Path("/etc/kled/runs/1"), Path("/root"): Path("/h")}
    found = mounts(bubblewrap_arguments(view, writable))
    for earlier, later in [
        ("--ro-bind /etc", "--tmpfs /etc/kled"),
        ("--tmpfs /etc/kled", "--bind /etc/kled/runs/1"),
        ("--ro-bind /etc", "--ro-bind /etc/shadow"),
        ("--bind /root", "--ro-bind /root/.pyenv"),
    ]:
        assert found.index(earlier) < found.index(later)


def test_what_is_not_shown_needs_no_hiding() -> None:
    """bwrap would make the path to mount something there."""
    arguments = bubblewrap_arguments(VIEW, {})
    assert "/srv/data" not in arguments
    assert "/root/key" not in arguments


def test_all_of_the_machine_may_be_shown_and_no_process_of_it() -> None:
    arguments = bubblewrap_arguments(replace(VIEW, shown=[Path("/"), Path("/proc")]), {})
    last_shown = max(
        index
        for path in ("/", "/proc")
        for index in range(len(arguments))
        if arguments[index : index + 3] == ["--ro-bind", path, path]
    )
    for own in ("--proc", "--dev"):
        assert arguments.index(own) > last_shown
