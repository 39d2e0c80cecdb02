"""Whose a container's process is, by what an image says: anything."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kled_provider.kata.container.making.rootfs import ContainerUser, UserUnknownError, resolve_user

PASSWD = "root:x:0:0:r:/root:/bin/sh\ndev:x:1000:1001:d:/home/dev:/bin/sh\n"
GROUP = "root:x:0:\ndev:x:1001:\nextra:x:2000:dev,other\n"


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ("", ContainerUser(uid=0, gid=0, home="/root")),
        ("dev", ContainerUser(uid=1000, gid=1001, groups=(2000,), home="/home/dev")),
        ("1000", ContainerUser(uid=1000, gid=1001, groups=(2000,), home="/home/dev")),
        ("dev:extra", ContainerUser(uid=1000, gid=2000, home="/home/dev")),
        ("77:88", ContainerUser(uid=77, gid=88)),
    ],
)
def test_a_user_is_found_by_name_or_number(wanted: str, found: ContainerUser) -> None:
    assert resolve_user(wanted, PASSWD, GROUP) == found


@pytest.mark.parametrize("wanted", ["none", "dev:none", "\u00b2", "2147483648", "9" * 5000])
def test_what_is_no_user_is_refused(wanted: str) -> None:
    with pytest.raises(UserUnknownError, match="no number of one"):
        resolve_user(wanted, PASSWD, GROUP)


def test_a_home_is_what_an_environment_has_room_for() -> None:
    assert resolve_user("a", "a:x:1:1::/ho\0me:", "").home == "/home"


_FIELD = st.sampled_from(
    ["", "dev", "x", "0", "\u00b2", "\u0663", "-1", "9" * 5000, "4294967295", ":"]
)
_FILE = st.lists(st.lists(_FIELD, max_size=8).map(":".join), max_size=5).map("\n".join)


@given(wanted=st.lists(_FIELD, max_size=3).map(":".join), passwd=_FILE, group=_FILE)
def test_any_files_give_a_user_or_say_there_is_none(wanted: str, passwd: str, group: str) -> None:
    try:
        found = resolve_user(wanted, passwd, group)
    except UserUnknownError:
        return
    assert all(0 <= number < 1 << 31 for number in (found.uid, found.gid, *found.groups))
