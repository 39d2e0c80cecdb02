"""Which workers of an earlier process a coordinator knows to have ended."""

from __future__ import annotations

from pathlib import Path

from kled_coord.app import earlier_workers, worker_prefix
from kled_coord.config import CoordinatorConfig


def test_a_data_directory_knows_its_own_workers_on_any_database(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    for each in (one, other):
        each.mkdir()
    prefix = worker_prefix(one)
    assert worker_prefix(one) == prefix != worker_prefix(other)
    url = "postgresql://there/kled"
    is_dead = earlier_workers(CoordinatorConfig(data_dir=one, database_url=url))
    assert is_dead(f"{prefix}12/0")
    assert not is_dead(f"{worker_prefix(other)}12/0")
    assert not is_dead("")
    # Nobody else works on a SQLite database, and earlier releases named workers otherwise.
    assert earlier_workers(CoordinatorConfig(data_dir=one))("host/12/0")


def test_a_disk_that_takes_nothing_gives_no_name_that_others_have_too(tmp_path: Path) -> None:
    (tmp_path / "instance").mkdir()
    assert worker_prefix(tmp_path) != worker_prefix(tmp_path)
