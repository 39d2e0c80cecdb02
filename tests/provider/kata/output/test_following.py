"""A log is read on while it is written and rotated: each byte once, in order."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kled_provider.kata.output.following import (
    LogPosition,
    end_position,
    parse_position,
    read_on,
)
from kled_provider.kata.output.logger import RotatedFile
from tests.kit.examples import examples


@settings(max_examples=examples(40), deadline=None)
@given(st.lists(st.tuples(st.integers(1, 30), st.booleans()), max_size=25), st.integers(1, 40))
def test_every_byte_is_read_once_whatever_is_rotated(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[int, bool]], most: int
) -> None:
    log = tmp_path_factory.mktemp("log") / "output.log"
    written = RotatedFile(str(log), 40, 50)
    written.write(b"begun\n")
    said, read = b"begun\n", b""
    position = end_position(log, 100)
    for number, (size, is_read) in enumerate(steps):
        line = f"{number}:{'x' * size}\n".encode()
        written.write(line)
        said += line
        if is_read:
            data, position = read_on(log, position, most)
            read += data
    while data := read_on(log, position, most)[0]:
        read += data
        position = read_on(log, position, most)[1]
    assert read == said


def test_the_end_reaches_into_the_one_before(tmp_path: Path) -> None:
    log = tmp_path / "log"
    (tmp_path / "log.1").write_bytes(b"12345")
    log.write_bytes(b"678")
    read = []
    for most in (2, 3, 5, 100):
        position = end_position(log, most)
        data, position = read_on(log, position, 100)
        more, position = read_on(log, position, 100)
        read.append(data + more)
    assert read == [b"78", b"678", b"45678", b"12345678"]


def test_a_file_that_is_no_more_is_gone_on_from_with_the_newest(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(b"new")
    assert read_on(tmp_path / "log", LogPosition(1, 7), 100)[0] == b"new"


@pytest.mark.parametrize("text", ["", "1", "1:", "a:1", "1:-1", "1:2:3", "9" * 40 + ":1"])
def test_what_is_no_position_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="position"):
        parse_position(text)
    assert parse_position(str(LogPosition(5, 6))) == LogPosition(5, 6)
