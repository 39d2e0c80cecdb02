"""The bundles that a coordinator has."""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path

import pytest

from kled_coord.bundles.store import BundleStore
from kled_wire.errors import InputError
from tests.coord.bundles.conftest import MakeBundle


@pytest.fixture
def bundles(tmp_path: Path) -> BundleStore:
    return BundleStore(tmp_path / "bundles")


def test_what_was_added_is_found_by_its_hash(bundles: BundleStore, make_bundle: MakeBundle) -> None:
    assert (bundles.list(), bundles.newest(), bundles.find("a" * 64)) == ([], {}, None)
    file = make_bundle()
    added = bundles.add(file)
    assert added.digest == hashlib.sha256(file.read_bytes()).hexdigest()
    assert (added.architecture, added.version) == ("amd64", "0.1.0")
    assert added.path.read_bytes() == file.read_bytes()
    found = bundles.find(added.digest)
    assert found is not None
    assert (found.path, found.size) == (added.path, file.stat().st_size)
    assert bundles.add(file).digest == added.digest
    assert len(bundles.list()) == 1


def test_an_older_bundle_stays_and_the_newest_is_what_scripts_name(
    bundles: BundleStore, make_bundle: MakeBundle
) -> None:
    old, other = bundles.add(make_bundle(extra=b"1")), bundles.add(make_bundle("arm64"))
    new = bundles.add(make_bundle(extra=b"2"))
    os.utime(old.path, (1, 1))
    assert bundles.newest() == {"amd64": new.digest, "arm64": other.digest}
    assert bundles.find(old.digest) is not None
    # An older one that is added again is what the owner wants from now on.
    os.utime(new.path, (2, 2))
    assert bundles.add(make_bundle(extra=b"1")).digest == old.digest
    assert bundles.newest()["amd64"] == old.digest


def test_what_is_no_bundle_is_refused_and_leaves_nothing(
    bundles: BundleStore, make_bundle: MakeBundle, tmp_path: Path
) -> None:
    whole = make_bundle().read_bytes()
    cut, text = tmp_path / "cut.tar.gz", tmp_path / "text"
    cut.write_bytes(whole[: len(whole) // 2])
    text.write_text("hello")
    wrong = [
        (cut, "no whole .tar.gz"),
        (text, "no whole .tar.gz"),
        (make_bundle(name="script", **{"bin/kled-agent": b"#!/bin/sh"}), "no kled-agent/bin"),
        (make_bundle(name="bare", **{"bin/kled-agent": None}), "no kled-agent/bin"),
    ]
    for file, why in wrong:
        with pytest.raises(InputError, match=why) as caught:
            bundles.add(file)
        assert caught.value.code == "bundle_invalid"
    assert bundles.list() == []
    assert not list((tmp_path / "bundles").glob("*")) if (tmp_path / "bundles").exists() else True


def test_the_directory_is_private(
    bundles: BundleStore, make_bundle: MakeBundle, tmp_path: Path
) -> None:
    bundles.add(make_bundle())
    assert stat.S_IMODE((tmp_path / "bundles").stat().st_mode) == 0o700
