"""The order of mounts, which is what hides and shows."""

from __future__ import annotations

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


def test_hidden_covers_shown_and_what_may_be_written_covers_hidden() -> None:
    run = Path("/etc/kled/runs/1")
    found = mounts(
        bubblewrap_arguments(VIEW, base={Path("/root"): Path("/h")}, writable={run: run})
    )
    order = [
        "--bind /root",
        "--symlink /bin",
        "--ro-bind /etc",
        "--tmpfs /etc/kled",
        "--ro-bind /etc/shadow",
        "--bind /etc/kled/runs/1",
    ]
    assert [each for each in found if each in order] == order


def test_what_is_not_shown_needs_no_hiding() -> None:
    """bwrap would make the path to mount something there."""
    arguments = bubblewrap_arguments(VIEW, base={}, writable={})
    assert "/srv/data" not in arguments
    assert "/root/key" not in arguments
