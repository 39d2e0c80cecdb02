"""A reserve of the disk stays free, however much comes."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from kled_sync.files.writing.large_arrival import LargeArrival
from kled_sync.files.writing.room import check_room, room_bytes
from tests.kit.small_disk import mounted

MIB = 1024 * 1024


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[int]:
    """A descriptor of a filesystem of 64 MiB."""
    with mounted(tmp_path, 64):
        descriptor = os.open(tmp_path, os.O_RDONLY)
        yield descriptor
        os.close(descriptor)


def test_a_part_of_a_small_disk_is_its_reserve(disk: int) -> None:
    assert 60 * MIB < room_bytes(disk) < 61 * MIB
    check_room(disk)


def test_a_file_without_end_leaves_the_reserve_free(disk: int) -> None:
    arrival = LargeArrival(disk, b"file")
    chunk = memoryview(b"x" * MIB)
    with pytest.raises(OSError, match="No space") as caught:  # noqa: PT012  # which of many it is
        for _ in range(200):
            arrival.write([(MIB, bytes(32))], chunk)
    arrival.close()
    assert caught.value.errno == errno.ENOSPC
    found = os.fstatvfs(disk)
    assert found.f_bavail * found.f_frsize > 2 * MIB
