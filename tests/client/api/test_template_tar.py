from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kled_client.api.template_tar import is_packed, pack_template
from kled_wire.errors import InputError
from kled_wire.limits import TEMPLATE_MAX_BYTES
from tests.client.conftest import Kled, one_line


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
    packed = pack_template(tmp_path)
    archive = packed.archive
    assert names(archive) == wanted
    assert packed.left_out == (
        ".env",
        ".git/",
        ".terraform/",
        "files/.secret",
        "plan.tfplan",
        "terraform.tfstate",
        "terraform.tfstate.backup",
    )
    assert archive[:2] == b"\x1f\x8b"
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        assert {(m.uid, m.uname, m.mtime) for m in tar} == {(0, "", 0)}


def test_links_within_the_template_are_followed_and_others_refused(tmp_path: Path) -> None:
    root = tmp_path / "template"
    fill(root, "main.tf", "modules/one/main.tf", "scripts/run.sh")
    (root / "modules/two").symlink_to("one")
    (root / "run.sh").symlink_to("scripts/run.sh")
    assert names(pack_template(root).archive) == [
        "main.tf",
        "modules/one/main.tf",
        "modules/two/main.tf",
        "run.sh",
        "scripts/run.sh",
    ]
    fill(tmp_path, "outside/secret")
    for target, code in (
        (tmp_path / "outside", "template_link_outside"),
        (root, "template_link_broken"),
        (root / "nowhere", "template_link_broken"),
    ):
        (root / "bad").symlink_to(target)
        with pytest.raises(InputError) as caught:
            pack_template(root)
        assert (caught.value.code, "bad" in caught.value.message) == (code, True)
        (root / "bad").unlink()
    # Two directories that lead to one another.
    (root / "modules/one/back").symlink_to(root / "scripts")
    (root / "scripts/back").symlink_to(root / "modules/one")
    with pytest.raises(InputError) as caught:
        pack_template(root)
    assert caught.value.code == "template_link_broken"


def test_links_that_multiply_have_an_end(tmp_path: Path) -> None:
    for number in range(40):
        fill(tmp_path, f"d{number}/main.tf")
        if number:
            for name in ("a", "b"):
                (tmp_path / f"d{number}" / name).symlink_to(f"../d{number - 1}")
    with pytest.raises(InputError) as caught:
        pack_template(tmp_path)
    assert caught.value.code == "template_too_large"


@given(st.text(min_size=1, max_size=20))
def test_state_and_hidden_files_never_go(name: str) -> None:
    if name[0] == "." or ".tfstate" in name:
        assert not is_packed(name) or name == ".terraform.lock.hcl"


def test_refusals(tmp_path: Path) -> None:
    def code(max_bytes: int = TEMPLATE_MAX_BYTES) -> str:
        with pytest.raises(InputError) as caught:
            pack_template(directory, max_bytes=max_bytes)
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
    assert code(max_bytes=3) == "template_too_large"


def test_a_shipped_template_is_written_once_and_can_be_packed(kled: Kled, tmp_path: Path) -> None:
    done = kled("template", "init", "process", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "kled template push process" in done.stderr.decode()
    assert "main.tf" in names(pack_template(tmp_path / "process").archive)
    again = kled("template", "init", "process", cwd=tmp_path)
    assert (again.returncode, one_line(again.stderr).count("not empty")) == (5, 1)
    unknown = kled("template", "init", "mainframe", cwd=tmp_path)
    assert unknown.returncode == 4
    assert "process" in one_line(unknown.stderr)
    (tmp_path / "file").write_text("")
    blocked = kled("template", "init", "process", "file/below", cwd=tmp_path)
    assert (blocked.returncode, one_line(blocked.stderr).count("file/below")) == (2, 1)
