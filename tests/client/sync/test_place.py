"""Where the sides of a sync are, what is left out, and how changes are said."""

from __future__ import annotations

import pytest

from kled_client.sync.copy import check_deletions
from kled_client.sync.itemize import event, itemize, monitored, place_in_list
from kled_client.sync.place import parse_sync_place
from kled_client.sync.rules import rules_of
from kled_sync.decide.modes import SyncSide
from kled_sync.decide.reconcile import PathChange
from kled_sync.decide.target import target_of
from kled_sync.session.once import Plan
from kled_sync.tree.entry import make_directory, make_file, make_link
from kled_wire.errors import InputError, KledError


@pytest.mark.parametrize(
    ("text", "shown", "ssh"),
    [
        ("proj", "proj", None),
        ("./dev:proj", "./dev:proj", None),
        ("dev:proj", "dev:proj", None),
        ("alice/dev:~/proj", "dev.alice:proj", None),
        ("dev:", "dev:.", None),
        ("me@host:proj", "me@host:proj", ("me@host",)),
        ("ssh://host/srv/x", "host:/srv/x", ("host",)),
        ("ssh://me@host:2222/~/x%20y", "me@host:x y", ("-p", "2222", "me@host")),
    ],
)
def test_a_place_is_read_as_people_write_it(
    text: str, shown: str, ssh: tuple[str, ...] | None
) -> None:
    place = parse_sync_place(text)
    assert (str(place), place.ssh) == (shown, ssh)


@pytest.mark.parametrize(
    "text", ["ssh://-oProxyCommand=x/y", "ssh://", "ssh://h:x/y", "ssh://u:p@h/y", "ssh://h/y?z"]
)
def test_what_ssh_could_take_for_an_option_is_refused(text: str) -> None:
    with pytest.raises(InputError):
        parse_sync_place(text)


@pytest.mark.parametrize(
    ("source", "destination", "is_directory", "wanted"),
    [
        (b"dir", b"there", True, (b"there/dir", b"")),
        (b"dir/", b"there", True, (b"there", b"")),
        (b"a/dir", b"there/", True, (b"there/dir", b"")),
        (b".", b"there", True, (b"there", b"")),
        (b"a/f", b"there", False, (b"there", b"f")),
        (b"f", b"there/", False, (b"there/f", b"")),
        (b"f", b"/", False, (b"/f", b"")),
    ],
)
def test_a_slash_means_what_it_means_to_rsync(
    source: bytes, destination: bytes, is_directory: bool, wanted: tuple[bytes, bytes]
) -> None:
    assert target_of(source, destination, is_directory=is_directory) == wanted


def test_rules_are_put_together_the_strongest_last() -> None:
    text = rules_of(["!keep", "x"], ["python"], vcs=False)
    assert text.startswith(b".git\n")
    assert text.endswith(b"!keep\nx\n")
    with pytest.raises(InputError):
        rules_of(["a\nb"], [])


def test_changes_are_said_as_rsync_says_them() -> None:
    old, new = make_file(0o644, 1, 5, b"a" * 32), make_file(0o755, 2, 6, b"b" * 32)
    lines = [
        itemize(PathChange(SyncSide.BETA, path, after, before))
        for path, after, before in (
            (b"new", new, None), (b"x", new, old), (b"t", old.with_time(9), old),
            (b"gone", None, old), (b"d", make_directory(0o755), None),
            (b"l", make_link(b"b"), make_link(b"a")), (b"k", new, make_directory(0o755)),
            (b"c\x1b[31m\n\xff", new, None), (b"", make_directory(0o755), None),
        )
    ]  # fmt: skip
    assert lines == [
        ">f+++++++++ new", ">f.stp..... x", ".f..t...... t", "*deleting   gone",
        "cd+++++++++ d/", "cL......... l -> b", ">f+++++++++ k",
        r">f+++++++++ c\x1b[31m\n\xff", "cd+++++++++ ./",
    ]  # fmt: skip
    assert event(PathChange(SyncSide.BETA, b"x\xff", new, old)) == {
        "event": "changed", "path": "x\udcff", "kind": "file", "side": "beta", "bytes": 6,
    }  # fmt: skip


def test_a_monitor_calls_the_root_by_a_dot() -> None:
    made = event(PathChange(SyncSide.BETA, b"", make_directory(0o755), None))
    lines = [monitored({**made, "by": "alpha", "path": path}, "12:00:00") for path in ("", "d\n")]
    assert lines == [f"12:00:00 alpha → beta  created  {path}" for path in (".", r"d\n")]


def test_changes_stand_in_the_order_of_rsyncs() -> None:
    file, folder = make_file(0o644, 1, 5, b"a" * 32), make_directory(0o755)
    changes = [
        PathChange(SyncSide.BETA, path, new, old)
        for path, new, old in (
            (b"new", file, None), (b"sub/z", None, file), (b"sub", folder, folder),
            (b"", folder, folder), (b"a", None, folder),
        )
    ]  # fmt: skip
    names = [itemize(change).split()[1] for change in sorted(changes, key=place_in_list)]
    assert names == ["a/", "./", "new", "sub/z", "sub/"]


async def test_many_deletions_are_asked_about_or_refused() -> None:
    async def no(_question: str) -> bool:
        return False

    async def yes(_question: str) -> bool:
        return True

    plan = Plan(actions=[], skipped=[], deletions=101, files=500)
    with pytest.raises(KledError) as refused:
        await check_deletions(plan, None, no)
    assert refused.value.code == "not_deleted"
    await check_deletions(plan, None, yes)
    await check_deletions(plan, 101, None)
    with pytest.raises(InputError, match="101 of 500"):
        await check_deletions(plan, None, None)
    await check_deletions(Plan(actions=[], skipped=[], deletions=100, files=100), None, None)


def test_a_program_reads_what_else_changes_in_words() -> None:
    there = make_file(0o644, 1, 3)
    change = PathChange(SyncSide.BETA, b"a", there, there)
    assert itemize(change, "oax") == ".f....o..ax a"
    found = event(change, "oxh", b"b")
    assert (found["attributes"], found["linked_to"]) == (["owner", "xattrs", "hard_link"], "b")
    assert "attributes" not in event(change)
