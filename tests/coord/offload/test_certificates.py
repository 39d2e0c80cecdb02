"""Certificate files: read, read again when they are others, kept when they cannot be."""

from __future__ import annotations

import pytest

from kled_coord.offload.certificates import Certificates
from tests.coord.offload.authority import Authority


def test_files_are_read_again_when_they_have_changed(authority: Authority) -> None:
    certificates = Certificates(*authority.issue())
    first = certificates.context
    assert not certificates.renew()
    assert certificates.context is first
    authority.issue()
    assert certificates.renew()
    assert certificates.context is not first
    assert not certificates.renew()


def test_what_cannot_be_used_is_said_once_and_the_last_stays(authority: Authority) -> None:
    chain, key = authority.issue()
    certificates = Certificates(chain, key)
    first, good = certificates.context, key.read_bytes()
    # As it is between the two steps of a renewal that is not atomic.
    key.write_text("not a key")
    with pytest.raises(OSError, match=r"PEM|key|SSL"):
        certificates.renew()
    assert not certificates.renew()
    key.unlink()
    with pytest.raises(FileNotFoundError):
        certificates.renew()
    assert certificates.context is first
    key.write_bytes(good)
    assert certificates.renew()


def test_files_that_cannot_be_used_at_first_are_an_error(authority: Authority) -> None:
    chain, key = authority.issue()
    for pair in ((chain, key.with_name("none")), (key, key)):
        with pytest.raises(OSError):  # noqa: PT011 - OpenSSL's words differ between releases
            Certificates(*pair)
