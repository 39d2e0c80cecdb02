"""Many runs with one cache of providers, with the real Terraform and a mirror of packed ones."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path
from typing import Any

import pytest
import trio

from kled_coord.terraform.checking import CheckInput, check_template
from kled_coord.terraform.output.errors import TemplateInvalidError
from kled_coord.terraform.plugincache import CACHE, PluginCache
from kled_coord.terraform.session import Control
from kled_provider.serve import KLED

PACKAGE = "example.com/a/big/1.0.0/linux_amd64"
TEMPLATE = (
    'terraform {\n  required_providers {\n    big = { source = "example.com/a/big" }\n  }\n}\n'
)
# As many as were seen failing: 3 of 48, one after the other would take a minute.
RUNS = int(os.environ.get("KLED_CACHE_RUNS", "12"))


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """A mirror with one provider of some megabytes, and a cache for it."""
    folder = tmp_path / "mirror/example.com/a/big"
    folder.mkdir(parents=True)
    archive = folder / "terraform-provider-big_1.0.0_linux_amd64.zip"
    with zipfile.ZipFile(archive, "w") as packed:
        info = zipfile.ZipInfo("terraform-provider-big_v1.0.0")
        info.external_attr = 0o755 << 16
        packed.writestr(info, b"#!/bin/sh\nexit 1\n" + bytes(8 << 20))
    config = tmp_path / "terraformrc"
    config.write_text(
        "provider_installation {\n  filesystem_mirror {\n"
        f'    path = "{tmp_path}/mirror"\n  }}\n}}\n'
        f'plugin_cache_dir = "{tmp_path}/cache"\n'
    )
    (tmp_path / "cache").mkdir()
    return {"PATH": os.environ["PATH"], "TF_CLI_CONFIG_FILE": str(config)}


async def check(binary: Any, pack: Any, directory: Path, environment: dict[str, str]) -> None:
    """The provider is installed and run; it ends at once, and that is all that goes wrong."""
    directory.mkdir()
    with pytest.raises(TemplateInvalidError, match="Failed to read any lines from plugin's stdout"):
        await check_template(
            CheckInput(template=pack({"main.tf": TEMPLATE})),
            binary=binary,
            directory=directory,
            providers=(KLED,),
            control=Control(inherited=environment),
        )


@pytest.mark.slow
async def test_parallel_runs_share_a_cache(
    binary: Any, pack: Any, tmp_path: Path, environment: dict[str, str]
) -> None:
    async with trio.open_nursery() as nursery:
        for number in range(RUNS):
            nursery.start_soon(check, binary, pack, tmp_path / f"run{number}", environment)
    cache = tmp_path / "cache"
    assert [str(p.relative_to(cache)) for p in cache.glob("*/*/*/*/*")] == [PACKAGE]
    assert sorted(p.name for p in cache.iterdir()) == ["example.com"]
    program = cache / PACKAGE / "terraform-provider-big_v1.0.0"
    before = program.stat()
    await check(binary, pack, tmp_path / "later", environment)
    # The later one took it from there: nothing was written, not even over it.
    assert (program.stat().st_ino, program.stat().st_mtime_ns) == (
        before.st_ino,
        before.st_mtime_ns,
    )
    assert (tmp_path / "later/plugins" / PACKAGE).is_symlink()


def cached(root: Path, name: str, text: str) -> Path:
    file = root / name / "provider"
    file.parent.mkdir(parents=True)
    file.write_text(text)
    return file


def test_with_a_lock_file_terraform_gets_copies_of_what_is_locked(tmp_path: Path) -> None:
    shared, run, work = tmp_path / "cache", tmp_path / "run", tmp_path / "work"
    run.mkdir()
    work.mkdir()
    kept = cached(shared, PACKAGE, "shared")
    cached(shared, PACKAGE.replace("1.0.0", "2.0.0"), "other")
    (work / ".terraform.lock.hcl").write_text(
        'provider "example.com/a/big" {\n  version     = "1.0.0"\n  hashes = ["h1:x"]\n}\n'
        'provider "../../etc" {\n  version = ".."\n}\n'
    )
    told = PluginCache({CACHE: str(shared)}, run).lend(work)
    own = run / "plugins" / PACKAGE / "provider"
    assert told[CACHE] == str(run / "plugins")
    assert "TF_PLUGIN_CACHE_MAY_BREAK_DEPENDENCY_LOCK_FILE" not in told
    own.write_text("installed over it")
    assert kept.read_text() == "shared"
    assert [p.name for p in (run / "plugins/example.com/a/big").iterdir()] == ["1.0.0"]


def test_what_is_published_never_changes_and_what_fails_is_only_not_shared(
    tmp_path: Path,
) -> None:
    shared = tmp_path / "cache"
    for number in range(2):
        run = tmp_path / f"run{number}"
        run.mkdir()
        cache = PluginCache({CACHE: str(shared)}, run)
        (tmp_path / "work").mkdir(exist_ok=True)
        cache.lend(tmp_path / "work")
        if number == 0:
            cached(run / "plugins", PACKAGE, "first")
        cached(run / "plugins", PACKAGE.replace("big", f"n{number}"), "own")
        cache.publish()
    assert (shared / PACKAGE / "provider").read_text() == "first"
    assert len(list(shared.glob("*/*/*/*/*"))) == 3
    blocked = tmp_path / "run9"
    blocked.mkdir()
    cache = PluginCache({CACHE: str(tmp_path / "file/cache")}, blocked)
    (tmp_path / "file").write_text("no directory")
    cache.lend(tmp_path / "work")
    cached(blocked / "plugins", PACKAGE, "x")
    cache.publish()


def test_a_provider_that_a_template_brings_is_no_other_templates(tmp_path: Path) -> None:
    run, work = tmp_path / "run", tmp_path / "work"
    run.mkdir()
    (work / "terraform.d/plugins").mkdir(parents=True)
    cache = PluginCache({CACHE: str(tmp_path / "cache")}, run)
    cache.lend(work)
    cached(run / "plugins", PACKAGE, "says it is big")
    cache.publish()
    assert not (tmp_path / "cache").exists()


def test_without_a_cache_there_is_nothing_to_lend(tmp_path: Path) -> None:
    cache = PluginCache({}, tmp_path)
    assert cache.lend(tmp_path) == {}
    cache.publish()
