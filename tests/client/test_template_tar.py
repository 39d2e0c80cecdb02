from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kled_client import template_tar
from kled_client.template_tar import is_packed, pack_template
from kled_wire.errors import InputError


def names(archive: bytes) -> list[str]:
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        return tar.getnames()


def fill(directory: Path, *paths: str) -> None:
    for path in paths:
        (directory / path).parent.mkdir(parents=True, exist_ok=True)
        (directory / path).write_text(path)


def test_what_belongs_in_and_what_stays(tmp_path: Path) -> None:
    wanted = [".terraform.lock.hcl", "README.md", "files/init.sh", "main.tf"]
    fill(
        tmp_path,
        *wanted,
        ".terraform/providers/x",
        ".git/config",
        ".env",
        "terraform.tfstate",
        "terraform.tfstate.backup",
        "plan.tfplan",
        "files/.secret",
    )
    archive = pack_template(tmp_path)
    assert names(archive) == wanted
    assert archive[:2] == b"\x1f\x8b"
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        assert {(m.uid, m.uname, m.mtime) for m in tar} == {(0, "", 0)}


@given(st.text(min_size=1, max_size=20))
def test_state_and_hidden_files_never_go(name: str) -> None:
    if name[0] == "." or ".tfstate" in name:
        assert not is_packed(name) or name == ".terraform.lock.hcl"


def test_refusals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def code() -> str:
        with pytest.raises(InputError) as caught:
            pack_template(directory)
        return caught.value.code

    directory = tmp_path / "missing"
    assert code() == "template_missing"
    directory.mkdir()
    assert code() == "template_empty"
    fill(directory, "main.tf")
    outside = tmp_path / "secret"
    outside.write_text("s")
    link = directory / "link"
    link.symlink_to(outside)
    assert code() == "template_link_outside"
    link.unlink()
    monkeypatch.setattr(template_tar, "TEMPLATE_MAX_BYTES", 3)
    assert code() == "template_too_large"
