"""A directory becomes a tar that has what a root file system needs, and always the same bytes."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path

import pytest

from kled_provider.kata.image.manifest import ImageFormatError
from kled_provider.kata.image.root_directory import pack_directory

CAPABILITY = b"\x01\0\0\x02\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0"  # cap_net_raw=ep


def packed(root: Path, most_bytes: int = 1 << 20) -> bytes:
    target = io.BytesIO()
    source = os.open(root, os.O_RDONLY)
    try:
        pack_directory(source, target, most_bytes, lambda: None)
    finally:
        os.close(source)
    return target.getvalue()


def test_modes_links_and_capabilities_stay_and_devices_do_not(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir(0o750)
    (tmp_path / "bin/su").write_text("su")
    (tmp_path / "bin/su").chmod(0o4755)
    os.link(tmp_path / "bin/su", tmp_path / "bin/zz")
    (tmp_path / "sh").symlink_to("/etc/passwd")
    os.mkfifo(tmp_path / "pipe")
    if os.geteuid() == 0:
        os.setxattr(tmp_path / "bin/su", "security.capability", CAPABILITY)
    data = packed(tmp_path)
    with tarfile.open(fileobj=io.BytesIO(data), errors="surrogateescape") as tar:
        entries = {entry.name: entry for entry in tar}
    assert sorted(entries) == ["bin", "bin/su", "bin/zz", "sh"]
    assert (entries["bin"].mode, entries["bin/su"].mode) == (0o750, 0o4755)
    assert (entries["bin/zz"].type, entries["bin/zz"].linkname) == (tarfile.LNKTYPE, "bin/su")
    assert (entries["sh"].type, entries["sh"].linkname) == (tarfile.SYMTYPE, "/etc/passwd")
    if os.geteuid() == 0:
        found = entries["bin/su"].pax_headers["SCHILY.xattr.security.capability"]
        assert os.fsencode(found) == CAPABILITY
    assert packed(tmp_path) == data


def test_what_is_too_large_or_too_deep_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x" * 5000)
    with pytest.raises(ImageFormatError, match="over 4999 bytes"):
        packed(tmp_path, 4999)
    deep = tmp_path / "/".join("d" * 202)
    deep.mkdir(parents=True)
    with pytest.raises(ImageFormatError, match="200 deep"):
        packed(tmp_path)
