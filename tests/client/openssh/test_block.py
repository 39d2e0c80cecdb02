from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kled_client.openssh.block import (
    BEGIN,
    END,
    BlockSettings,
    has_block,
    put_block,
    render_block,
    take_block,
)
from kled_wire.errors import InputError

SETTINGS = BlockSettings(
    command=("/opt/ke d/kled", "stream", "--fdpass"),
    renew=("/opt/ke d/kled", "ssh-cert"),
    renewed="/home/a b/100%/state",
    identity="/home/a b/100%/id",
    certificate="/c",
    known_hosts="/k",
    control_path="/run/%C",
)
BLOCK = render_block(SETTINGS)
unmarked = st.binary(max_size=300).filter(lambda b: b"kled" not in b)


@given(unmarked)
def test_removing_gives_the_file_back_byte_for_byte(content: bytes) -> None:
    assert take_block(put_block(content, BLOCK)) == content


@given(unmarked)
def test_writing_twice_is_writing_once(content: bytes) -> None:
    once = put_block(content, BLOCK)
    assert put_block(once, BLOCK) == once
    assert has_block(once)


@given(unmarked, unmarked)
def test_an_old_block_is_replaced_where_it_stands(before: bytes, after: bytes) -> None:
    before = before + b"\n"
    old = BEGIN + b"\nHost *.kled\n  Port 1\n" + END + b"\n"
    assert put_block(before + old + after, BLOCK) == before + BLOCK + after


@pytest.mark.parametrize(
    "content", [BEGIN + b"\n", END + b"\n", END + b"\n" + BEGIN + b"\n", BLOCK + BLOCK]
)
def test_markers_that_do_not_pair_up_are_refused(content: bytes) -> None:
    for change in (take_block, lambda c: put_block(c, BLOCK)):
        with pytest.raises(InputError) as caught:
            change(content)
        assert caught.value.code == "ssh_config_markers"


def test_paths_are_quoted_for_ssh() -> None:
    text = BLOCK.decode()
    assert "ProxyCommand '/opt/ke d/kled' stream --fdpass %h\n" in text
    assert "find '/home/a b/100%%/state' -mmin -6" in text
    assert "|| '/opt/ke d/kled' ssh-cert <" in text
    assert 'IdentityFile "/home/a b/100%%/id"\n' in text
    assert "ControlPath /run/%C\n" in text
    assert "User " not in text


def test_an_unquotable_path_is_refused() -> None:
    with pytest.raises(InputError):
        render_block(
            BlockSettings(
                command=("kled",),
                renew=("kled",),
                renewed="/r",
                identity='/a"b',
                certificate="/c",
                known_hosts="/k",
                control_path=None,
            )
        )
