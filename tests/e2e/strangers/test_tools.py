"""Backups, mirrors and automation over ssh: what takes long to install, for `--strangers`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.strangers.conftest import Entrance
from tests.kit.programs import need
from tests.kit.trees import describe, make_tree

pytestmark = pytest.mark.strangers
# lftp's own quoting, and rclone's and ansible's, are not ours to test.
SIMPLE = ("plain", "with space", "ünïcödé-日本語-🐙", "#hash", ".hidden")


@pytest.fixture
def tree(tmp_path: Path, entrance: Entrance) -> Path:
    """A tree, and a file of some size in it."""
    made = tmp_path / "tree"
    make_tree(made, names=SIMPLE)
    (made / "blob").write_bytes(entrance.blob.read_bytes())
    return made


def files(root: Path) -> dict[str, bytes]:
    """For those that keep content only; links are followed or left out by each in its way."""
    found = (path for path in root.rglob("*") if path.is_file() and not path.is_symlink())
    return {str(path.relative_to(root)): path.read_bytes() for path in found}


def test_restic_backs_up_checks_and_restores(entrance: Entrance, tree: Path) -> None:
    def restic(*words: str | Path) -> None:
        options = ("-o", f"sftp.command={entrance.ssh} dev.kled -s sftp", "--no-cache", "-q")
        repository = f"sftp:dev.kled:{entrance.folder}/repository"
        env = {"RESTIC_PASSWORD": "p"}
        entrance.site.run(need("restic"), *options, "-r", repository, *words, env=env)

    restic("init")
    restic("backup", tree)
    restic("check", "--read-data")
    restic("restore", "latest", "--target", entrance.folder / "restored")
    assert describe(entrance.folder / f"restored{tree}") == describe(tree)


def test_borg_backs_up_checks_and_extracts(entrance: Entrance, tree: Path) -> None:
    out = entrance.folder / "out"
    out.mkdir()

    def borg(*words: str) -> None:
        env = {"BORG_RSH": entrance.ssh, "BORG_REPO": f"ssh://dev.kled{entrance.folder}/borg"}
        env["BORG_BASE_DIR"] = str(tree.parent / "base")
        entrance.site.run(need("borg"), *words, env=env, cwd=out)

    borg("init", "--encryption=none")
    borg("create", "::first", str(tree))
    borg("check", "--verify-data")
    borg("extract", "::first")
    assert describe(Path(f"{out}{tree}")) == describe(tree)


def test_unison_brings_both_sides_together(entrance: Entrance, tree: Path) -> None:
    there = entrance.folder / "tree"
    there.mkdir()
    (there / "from there").write_text("new")

    def unison() -> None:
        words = ("-batch", "-auto", "-ui", "text", "-times", "-perms", "-1")
        ssh = ("-sshcmd", entrance.ssh_script)
        roots = (tree, f"ssh://dev.kled/{there}")
        entrance.site.run(need("unison"), *roots, *words, *ssh)

    unison()
    assert (tree / "from there").read_text() == "new"
    assert describe(there, links=False) == describe(tree, links=False)
    (tree / "plain").unlink()
    (there / "blob").write_bytes(b"changed there")
    unison()
    assert describe(there, links=False) == describe(tree, links=False)
    assert (tree / "blob").read_bytes() == b"changed there"


def test_lftp_mirrors_both_ways(entrance: Entrance, tree: Path) -> None:
    there, back = entrance.folder / "tree", entrance.folder / "back"
    commands = (
        f'set sftp:connect-program "{entrance.ssh} -a -x"',
        "open -u me, sftp://dev.kled",
        f"mirror -R --parallel=3 {tree} {there}",
        f"mirror --parallel=3 {there} {back}",
        f"pget -n 3 {there}/blob -o {entrance.folder}/parts",
    )
    entrance.site.run(need("lftp"), "-f", "/dev/stdin", input="\n".join(commands) + "\n")
    assert files(there) == files(tree) == files(back)
    assert (entrance.folder / "parts").read_bytes() == entrance.blob.read_bytes()


def test_rclone_syncs_and_checks(entrance: Entrance, tree: Path) -> None:
    # No pinned host key: Go's library asks every server for a host certificate before a plain key,
    # and this rclone has no other order.
    where = f"host=127.0.0.1,port={entrance.port},user=me,key_file={entrance.key}"
    remote = f":sftp,{where}:{entrance.folder}/tree"

    def rclone(*words: str | Path) -> str:
        env = {"RCLONE_CONFIG": "/dev/null", "RCLONE_RETRIES": "1"}
        return entrance.site.run(need("rclone"), *words, env=env).stdout

    rclone("sync", "--skip-links", tree, remote)
    rclone("check", "--skip-links", tree, remote)
    rclone("check", "--skip-links", "--download", tree, remote)
    assert files(entrance.folder / "tree") == files(tree)
    (tree / "blob").unlink()
    rclone("sync", "--skip-links", tree, remote)
    assert files(entrance.folder / "tree") == files(tree)


@pytest.mark.parametrize("pipelining", ["false", "true"])
def test_ansible_runs_and_copies(entrance: Entrance, pipelining: str) -> None:
    there = entrance.folder / "copied"
    inventory, play = entrance.blob.parent / "inventory", entrance.blob.parent / "play.yml"
    inventory.write_text(
        f"dev.kled ansible_ssh_common_args='-F {entrance.site.ssh_config}'"
        f" ansible_pipelining={pipelining} ansible_python_interpreter=/usr/bin/python3\n"
    )
    play.write_text(
        "- hosts: all\n  gather_facts: true\n  tasks:\n"
        f"  - copy: {{src: {entrance.blob}, dest: {there}, mode: '0640'}}\n"
        f"  - fetch: {{src: {there}, dest: {entrance.folder}/fetched, flat: true}}\n"
        "  - command: sh -c 'exit 3'\n    register: done\n    failed_when: done.rc != 3\n"
    )
    env = {"ANSIBLE_LOCAL_TEMP": str(entrance.blob.parent / "ansible"), "LANG": "C.UTF-8"}
    entrance.site.run(need("ansible-playbook"), "-i", inventory, play, env=env)
    assert there.read_bytes() == entrance.blob.read_bytes()
    assert there.stat().st_mode & 0o777 == 0o640
    assert (entrance.folder / "fetched").read_bytes() == entrance.blob.read_bytes()
