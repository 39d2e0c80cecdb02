"""The owner's file of variables for Terraform."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kled_coord.terraform.process.envfile import MAX_BYTES, load_environment, parse_environment
from kled_wire.errors import ConfigError


def test_lines_comments_and_quotes() -> None:
    text = "\n# mine\n  AWS_REGION=eu-1 \nA='a b'\nB=\"x=y\"\nC=\nD=it's\nE='\n"
    found = {"AWS_REGION": "eu-1", "A": "a b", "B": "x=y", "C": "", "D": "it's", "E": "'"}
    assert parse_environment(text, "f") == found


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("AWS_REGION", "is not NAME=VALUE"),
        ("export A=s3cret", "is not NAME=VALUE"),
        ("1A=s3cret", "is not NAME=VALUE"),
        ("A=s3\0cret", "is not NAME=VALUE"),
        ("TF_HTTP_PASSWORD=s3cret", "is set by the coordinator"),
        ("KLED_RUN=s3cret", "is set by the coordinator"),
    ],
)
def test_a_wrong_line_is_named_by_its_number_and_its_value_never_shown(
    line: str, what: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_environment(f"A=b\n{line}\n", "/etc/kled/terraform.env")
    assert "/etc/kled/terraform.env, line 2" in caught.value.message
    assert what in caught.value.message
    assert "s3" not in caught.value.message


@given(st.text())
def test_garbage_is_refused_as_such_or_taken(text: str) -> None:
    try:
        found = parse_environment(text, "f")
    except ConfigError:
        return
    assert all("=" not in name and "\0" not in value for name, value in found.items())


def test_a_file_that_others_may_read_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "env"
    file.write_text("A=b\n")
    file.chmod(0o644)
    with pytest.raises(ConfigError, match="every user of this machine") as caught:
        load_environment(file)
    assert caught.value.hint == f"chmod o-r {file}"
    file.chmod(0o640)
    assert load_environment(file) == {"A": "b"}


def test_what_cannot_be_read_is_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        load_environment(tmp_path / "none")
    for content, why in ((b"\xff\xfe", "UTF-8"), (b"#" * (MAX_BYTES + 1), "bytes")):
        file = tmp_path / "env"
        file.touch(mode=0o600)
        file.chmod(0o600)
        file.write_bytes(content)
        with pytest.raises(ConfigError, match=why):
            load_environment(file)
