"""Owners by name and by number, what is believed of a peer, which paths are one file."""

from __future__ import annotations

from typing import Any

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kled_sync.decide.attributes import (
    KEEP,
    NOTHING,
    AttributesToSet,
    AttributeWish,
    FileAttributes,
    change_of,
    is_xattr,
    leaders,
    parse_attributes,
    parse_change,
)
from kled_wire.errors import ProtocolError

OWNERS = AttributeWish(owner=True, group=True)


def attributes(path: bytes = b"a", **given: Any) -> FileAttributes:
    plain = FileAttributes(path, 0, 0o644, 1000, 100, "ann", "users", {})
    return plain._replace(**given)


xattr_names = st.sampled_from([b"user.a", b"security.selinux", b"system.posix_acl_access"])
xattrs = st.dictionaries(xattr_names, st.binary(max_size=50))
ids = st.integers(0, 2**32 - 2)
names = st.text(max_size=20)


@given(st.tuples(st.integers(0, 2**64 - 1), st.integers(0, 0o7777), ids, ids, names, names, xattrs))
def test_what_is_sent_is_what_comes(parts: tuple[Any, ...]) -> None:
    found = FileAttributes._make((b"dir/a", *parts, "words"))
    assert parse_attributes(tuple(cbor2.loads(cbor2.dumps(list(found.row()))))) == found
    for keeps in (True, False):
        change = AttributesToSet._make((b"dir/a", *parts[1:], True, keeps))
        assert parse_change(tuple(cbor2.loads(cbor2.dumps(list(change.row()))))) == change


ANYTHING = (
    st.none() | st.integers() | st.binary() | st.text() | st.lists(st.binary()) | st.booleans()
)


@given(st.lists(ANYTHING, max_size=10))
def test_garbage_is_refused(row: list[Any]) -> None:
    for parse in (parse_attributes, parse_change):
        with pytest.raises(ProtocolError):
            parse((*row, object()))
        with pytest.raises(ProtocolError):
            parse(tuple(row))


@pytest.mark.parametrize(
    "wrong",
    [
        {"mode": 0o10000}, {"uid": -2}, {"gid": 2**32 - 1}, {"path": b"../a"}, {"user": "x" * 300},
        {"xattrs": {b"trusted.overlay.opaque": b"y"}}, {"xattrs": {b"user.a": b"x" * 70_000}},
        {"xattrs": {b"user." + b"n" * 300: b""}}, {"xattrs": {b"user.a\0b": b""}},
        {"xattrs": {b"user.%d" % n: b"x" * 60_000 for n in range(5)}},
    ],
)  # fmt: skip
def test_a_change_that_no_session_asks_for_is_refused(wrong: dict[str, Any]) -> None:
    change = AttributesToSet(b"a", KEEP, KEEP, KEEP, "", "", {}, sets_xattrs=True)
    with pytest.raises(ProtocolError):
        parse_change(change._replace(**wrong).row())


def test_owners_are_compared_by_name_where_both_have_one() -> None:
    other_number = attributes(uid=501, gid=20)
    assert change_of(OWNERS, attributes(), other_number, permissions=True) is None
    numeric = AttributeWish(owner=True, group=True, numeric_ids=True)
    change = change_of(numeric, attributes(), other_number, permissions=True)
    assert change is not None
    assert (change.uid, change.gid, change.user, change.group) == (1000, 100, "", "")
    change = change_of(OWNERS, attributes(), attributes(user="bob"), permissions=True)
    assert change is not None
    assert (change.uid, change.user, change.gid) == (1000, "ann", KEEP)


def test_root_is_root_whatever_it_is_called() -> None:
    source = attributes(uid=0, user="toor")
    assert change_of(OWNERS, source, attributes(uid=0, user="root"), permissions=True) is None


def test_what_was_not_asked_for_is_not_set() -> None:
    source = attributes(mode=0o6755, uid=5, gid=6, user="x", group="y", xattrs={b"user.a": b"1"})
    change = change_of(NOTHING, source, attributes(mode=0o2644), permissions=True)
    assert change == AttributesToSet(b"a", 0o2755, KEEP, KEEP, "x", "y", {}, sets_xattrs=False)
    assert change_of(NOTHING, source, attributes(), permissions=False) is None


def test_only_root_sees_what_decides_who_may_do_what() -> None:
    assert is_xattr(b"user.a", is_root=False)
    for name in (b"security.capability", b"system.posix_acl_access"):
        assert is_xattr(name, is_root=True)
        assert not is_xattr(name, is_root=False)
    assert not is_xattr(b"trusted.a", is_root=True)


def test_the_first_of_several_names_is_the_one_that_is_copied() -> None:
    found = [attributes(b"b", link=7), attributes(b"a", link=7), attributes(b"c", link=8)]
    found += [attributes(b"d"), attributes(b"e")]
    assert leaders(found, set()) == {b"a": b"a", b"b": b"a"}
    assert leaders(found, {b"b", b"c", b"d"}) == {b"a": b"b", b"b": b"b"}
