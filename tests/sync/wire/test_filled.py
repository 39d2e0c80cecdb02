"""New directories with their files: what goes over the wire of them, and what is refused of it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kled_sync.decide.operations import Do, Operation
from kled_sync.tree.entry import make_directory, make_file, make_link
from kled_sync.wire.filled import (
    FILES_MAX,
    FolderItem,
    NewFiles,
    SuppliedFolder,
    filled,
    join_entries,
    parse_files,
    parse_folder_item,
    parse_names,
    parse_supplied,
)
from kled_wire.errors import ProtocolError

NAMES = st.lists(
    st.binary(min_size=1, max_size=20).filter(lambda n: n not in {b".", b"..", b".kled-sync"}),
    min_size=1,
    unique=True,
).map(lambda names: sorted(n for n in names if not {*b"/\0"} & {*n}))
FILE = make_file(0o644, 5, 7, bytes(range(32)))


@given(NAMES.filter(bool), st.integers(0, 2**40))
def test_what_is_written_is_read_again(names: list[bytes], size: int) -> None:
    assert parse_files(*NewFiles(names, size).row()) == NewFiles(names, size)
    item = FolderItem(3, b"a/b", names)
    assert parse_folder_item(item.row()) == item


def test_their_numbers_follow_those_of_all_operations() -> None:
    made = make_directory(0o755)
    some = [
        Operation(Do.MAKE_DIRECTORY, path, made, None, files=NewFiles(names))
        for path, names in ((b"a", [b"1", b"2"]), (b"b", []), (b"c", [b"3"]))
    ]
    assert [(first, o.path) for first, o in filled(some)] == [(3, b"a"), (5, b"c")]


@pytest.mark.parametrize(
    "names",
    [
        None, b"", b"a//b", b"..", b"a/..", b"a\0b", b".kled-sync", b"b/a", b"a/a", "a",
        b"a" * 256, b"/".join(b"%04d" % n for n in range(FILES_MAX + 2)),
    ],
)  # fmt: skip
def test_names_that_lead_elsewhere_or_are_too_many_are_refused(names: object) -> None:
    with pytest.raises(ProtocolError):
        parse_names(names)


@given(st.lists(st.sampled_from([FILE, FILE.with_mode(0o700), None]), min_size=1, max_size=20))
def test_each_is_told_by_its_number_and_all_together_if_none_is_missing(
    entries: list[bytes | None],
) -> None:
    (folder,) = parse_supplied([(4, join_entries(entries))]).values()
    assert dict(folder.each()) == {n: e for n, e in enumerate(entries, 4) if e is not None}
    names = [b"%02d" % n for n in range(len(entries))]
    packed = folder.packed(names)
    assert (packed is None) is (None in entries)
    assert packed is None or dict(packed.items()) == dict(zip(names, entries, strict=True))


@pytest.mark.parametrize(
    "entries",
    [b"", bytes(FILE)[:-1], bytes(FILE) * 2, make_link(b"x" * 32), b"\x01\xff" + FILE[2:]],
)
def test_entries_that_are_no_files_are_refused(entries: bytes) -> None:
    with pytest.raises(ProtocolError):
        SuppliedFolder(1, entries).packed([b"a"])
    with pytest.raises(ProtocolError):
        parse_supplied([(1, "words")])
