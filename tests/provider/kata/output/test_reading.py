"""What a workspace's container has printed, read for its owner."""

from __future__ import annotations

from pathlib import Path

import pytest

from kled_provider.kata.container.identity import container_id
from kled_provider.kata.output.keeping import outputs_of
from kled_provider.kata.output.reading import read_container_output
from kled_provider.kata.owner.file import OwnerFile, OwnerFileError


async def test_a_container_is_found_by_the_name_in_the_template(tmp_path: Path) -> None:
    owner = OwnerFile(
        state_directory=str(tmp_path / "state"), runtime_directory=str(tmp_path / "run")
    )
    log = outputs_of(owner).log(container_id("w-1", "dev", "a1"))
    log.parent.mkdir(parents=True)
    log.write_text("hello")
    assert await read_container_output("w-1", "dev", 100, lambda: owner) == b"hello"
    assert await read_container_output("w-1", "dev", 2, lambda: owner) == b"lo"
    assert await read_container_output("w-2", "dev", 100, lambda: owner) is None
    assert await read_container_output("w-1", "../dev", 100, lambda: owner) is None


async def test_where_no_containers_are_made_there_is_none() -> None:
    def load() -> OwnerFile:
        raise OwnerFileError("owner_file_missing", "there is no such file")

    assert await read_container_output("w-1", "dev", 100, load) is None


async def test_a_log_that_may_not_be_read_is_an_error(tmp_path: Path) -> None:
    owner = OwnerFile(state_directory=str(tmp_path), runtime_directory=str(tmp_path))
    log = outputs_of(owner).log(container_id("w-1", "dev", "a1"))
    log.mkdir(parents=True)  # what no user may read as a file, not even root
    with pytest.raises(OSError, match="directory"):
        await read_container_output("w-1", "dev", 100, lambda: owner)
