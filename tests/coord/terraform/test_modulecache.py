"""Modules that `init` has fetched are fetched once for a template."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import trio

from kled_coord.terraform.checking import CheckInput, check_template
from kled_coord.terraform.modulecache import ModuleCache
from kled_coord.terraform.session import Control
from kled_provider.serve import KLED

RUNS = 4


@pytest.fixture
def origin(tmp_path: Path) -> Path:
    """A repository of a module, which Terraform clones."""
    directory = tmp_path / "origin"
    directory.mkdir()
    (directory / "main.tf").write_text('output "o" {\n  value = 1\n}\n')
    git = ("git", "-c", "user.name=n", "-c", "user.email=e@e", "-C", str(directory))
    for words in (("init", "-q"), ("add", "."), ("commit", "-qm", "one")):
        subprocess.run([*git, *words], check=True)
    return directory


@pytest.mark.slow
async def test_a_module_is_fetched_once_and_by_many_at_once(
    binary: Any, pack: Any, tmp_path: Path, origin: Path
) -> None:
    text = f'module "far" {{\n  source = "git::file://{origin}"\n}}\n'
    template = pack({"main.tf": text})

    async def check(name: str) -> None:
        (tmp_path / name).mkdir()
        await check_template(
            CheckInput(template=template),
            binary=binary,
            directory=tmp_path / name,
            providers=(KLED,),
            control=Control(inherited=os.environ, modules=tmp_path / "modules"),
        )

    async with trio.open_nursery() as nursery:
        for number in range(RUNS):
            nursery.start_soon(check, f"run{number}")
    assert len(list((tmp_path / "modules").iterdir())) == 1
    origin.rename(tmp_path / "gone")
    await check("later")
    assert (tmp_path / "later/template/.terraform/modules/far/main.tf").is_file()


def work_with_module(directory: Path) -> Path:
    far = directory / ".terraform/modules/far"
    far.mkdir(parents=True)
    (far / "main.tf").write_text("")
    return directory


def test_a_template_gets_its_own_only_and_the_oldest_go(tmp_path: Path) -> None:
    cache = tmp_path / "modules"
    for number, name in enumerate((b"a", b"b", b"c")):
        ModuleCache(cache, name, most=2).publish(work_with_module(tmp_path / f"{number}"))
        for at, path in enumerate(sorted(cache.iterdir(), key=lambda p: p.stat().st_mtime_ns)):
            os.utime(path, (1000 + number + at, 1000 + number + at))
    assert len(list(cache.iterdir())) == 2
    (tmp_path / "new").mkdir()
    ModuleCache(cache, b"d").lend(tmp_path / "new")
    assert list((tmp_path / "new").iterdir()) == []
    ModuleCache(cache, b"c").lend(tmp_path / "new")
    assert (tmp_path / "new/.terraform/modules/far/main.tf").is_file()


def test_without_a_directory_or_modules_nothing_is_kept(tmp_path: Path) -> None:
    work = work_with_module(tmp_path / "work")
    ModuleCache(None, b"a").publish(work)
    ModuleCache(None, b"a").lend(work)
    plain = tmp_path / "plain"
    (plain / ".terraform/modules").mkdir(parents=True)
    (plain / ".terraform/modules/modules.json").write_text("{}")
    ModuleCache(tmp_path / "modules", b"a").publish(plain)
    assert not (tmp_path / "modules").exists()
