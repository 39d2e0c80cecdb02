"""Sealed values."""

from __future__ import annotations

import os
import stat

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kled_coord.store.sealing import Sealer, create_sealing_key, load_sealing_key
from kled_wire.errors import ConfigError, KledError

SEALER = Sealer(bytes(32), os.urandom)


@given(st.binary(max_size=200), st.text(max_size=10))
def test_what_is_sealed_opens_again_only_for_its_row(plain, row) -> None:
    sealed = SEALER.seal("state", row, plain)
    assert SEALER.open("state", row, sealed) == plain
    for purpose, other in (("agent_token", row), ("state", row + "x")):
        with pytest.raises(KledError, match="cannot be read"):
            SEALER.open(purpose, other, sealed)


@given(st.binary(max_size=60))
def test_noise_does_not_open(noise) -> None:
    with pytest.raises(KledError) as caught:
        SEALER.open("state", "r", noise)
    assert caught.value.code == "sealed_unreadable"


def test_a_flipped_bit_does_not_open() -> None:
    sealed = bytearray(SEALER.seal("state", "r", b"plain"))
    sealed[-1] ^= 1
    with pytest.raises(KledError):
        SEALER.open("state", "r", bytes(sealed))


def test_the_key_file_is_private_and_made_once(tmp_path) -> None:
    path = tmp_path / "sealing.key"
    key = create_sealing_key(path, os.urandom)
    assert create_sealing_key(path, os.urandom) == key == load_sealing_key(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_short_key_is_refused_by_name(tmp_path) -> None:
    (tmp_path / "k").write_bytes(b"short")
    with pytest.raises(ConfigError, match="5 bytes instead of 32"):
        load_sealing_key(tmp_path / "k")
