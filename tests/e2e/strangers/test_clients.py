"""SSH and SFTP clients of others: each does what it is for, and its bytes are compared."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.strangers.conftest import Entrance
from tests.kit.programs import need
from tests.kit.site import Done

NODE = Path(__file__).parent / "clients"


def same(*paths: Path) -> bool:
    return len({path.read_bytes() for path in paths}) == 1


@pytest.fixture
def ppk(entrance: Entrance) -> Path:
    """The key as PuTTY wants it."""
    made = entrance.site.root / "key.ppk"
    if not made.exists():
        entrance.site.run(need("puttygen"), entrance.key, "-o", made, "-O", "private")
    return made


def putty(entrance: Entrance, ppk: Path, program: str, *words: str | Path, **options: Any) -> Done:
    """A program of PuTTY, over its own ProxyCommand."""
    return entrance.site.run(
        *(need(program), "-batch", "-hostkey", entrance.fingerprint, "-i", ppk),
        *("-proxycmd", entrance.proxy, *words),
        **options,
    )


def test_plink_gives_status_input_and_errors(entrance: Entrance, ppk: Path) -> None:
    done = putty(entrance, ppk, "plink", "me@dev.kled", "cat; echo no >&2; exit 7",
                 input="typed", check=False)  # fmt: skip
    assert (done.returncode, done.stdout) == (7, "typed")
    assert "no" in done.stderr


@pytest.mark.parametrize("way", ["-sftp", "-scp"])
def test_pscp_copies_both_ways(entrance: Entrance, ppk: Path, way: str) -> None:
    there, back = entrance.folder / "copy", entrance.folder / "back"
    putty(entrance, ppk, "pscp", way, entrance.blob, f"me@dev.kled:{there}")
    putty(entrance, ppk, "pscp", way, f"me@dev.kled:{there}", back)
    assert same(entrance.blob, there, back)


def test_psftp_follows_a_batch(entrance: Entrance, ppk: Path) -> None:
    there = entrance.folder
    batch = entrance.blob.parent / "batch"
    batch.write_text(
        f"cd {there}\nmkdir sub\nput {entrance.blob} sub/up\nmv sub/up sub/moved\n"
        f"get sub/moved {there}/down\nls sub\n"
    )
    done = putty(entrance, ppk, "psftp", "-b", batch, "me@dev.kled")
    assert "moved" in done.stdout
    assert same(entrance.blob, there / "sub" / "moved", there / "down")


def test_dropbear_runs_commands_and_carries_scp(entrance: Entrance) -> None:
    site, key = entrance.site, entrance.site.root / "key.db"
    if not key.exists():
        site.run(need("dropbearconvert"), "openssh", "dropbear", entrance.key, key)
    words: list[str | Path] = [
        need("dbclient"),
        "-i",
        key,
        "-p",
        str(entrance.port),
        "me@127.0.0.1",
    ]
    done = site.run(*words, "cat; exit 9", input="typed", check=False)
    assert (done.returncode, done.stdout) == (9, "typed")
    script = entrance.blob.parent / "dropbear"
    script.write_text(f'#!/bin/sh\nexec {words[0]} -i {key} -p {entrance.port} "$@"\n')
    script.chmod(0o755)
    there = entrance.folder / "copy"
    site.run("scp", "-O", "-S", script, entrance.blob, f"me@127.0.0.1:{there}")
    assert same(entrance.blob, there)


def test_curl_uploads_and_downloads_by_sftp(entrance: Entrance) -> None:
    """Debian's curl stands on libssh2."""
    site, there = entrance.site, entrance.folder / "copy"
    words = (need("curl"), "-sS", "--key", entrance.key, "--pubkey", f"{entrance.key}.pub")
    url = f"sftp://me@127.0.0.1:{entrance.port}{there}"
    site.run(*words, "-u", "me:", "-T", entrance.blob, url)
    site.run(*words, "-u", "me:", "-o", entrance.folder / "back", url)
    assert same(entrance.blob, there, entrance.folder / "back")


def test_sshfs_mounts_a_folder(entrance: Entrance) -> None:
    site, mount = entrance.site, entrance.blob.parent / "mount"
    mount.mkdir()
    options = f"ssh_command=ssh -F {site.ssh_config} -S none"
    site.run(need("sshfs"), "-o", options, f"dev.kled:{entrance.folder}", mount)
    try:
        (mount / "copy").write_bytes(entrance.blob.read_bytes())
        (mount / "copy").rename(mount / "renamed")
        with (mount / "renamed").open("r+b") as file:
            file.seek(1_000_000)
            file.write(b"in the middle")
        assert [path.name for path in mount.iterdir()] == ["renamed"]
        expected = bytearray(entrance.blob.read_bytes())
        expected[1_000_000:1_000_013] = b"in the middle"
    finally:
        site.run(need("fusermount3"), "-u", mount)
    assert (entrance.folder / "renamed").read_bytes() == expected


@pytest.mark.parametrize("client", ["paramiko", "fabric", "asyncssh"])
def test_a_python_client_runs_copies_and_forwards(entrance: Entrance, client: str) -> None:
    """In a process of its own: each has its own threads and loop."""
    script = NODE / f"with_{client}.py"
    words = (entrance.site.ssh_config, entrance.key, str(entrance.port), entrance.host_key)
    done = entrance.site.run(sys.executable, script, *words, entrance.blob, entrance.folder)
    assert done.stdout.split() == ["status", "ran", "copied", "forwarded"]
    assert same(entrance.blob, entrance.folder / "up", entrance.folder / "down")


@pytest.fixture(scope="session")
def node_modules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """ssh2 of npm, with nothing compiled."""
    folder = tmp_path_factory.mktemp("node")
    words = ["npm", "install", "--silent", "--no-audit", "--no-fund", "--ignore-scripts", "ssh2@1"]
    subprocess.run(words, cwd=folder, check=True, stdin=subprocess.DEVNULL, timeout=60)
    return folder / "node_modules"


def test_nodes_ssh2_runs_and_copies(entrance: Entrance, node_modules: Path) -> None:
    words = (entrance.key, str(entrance.port), entrance.host_key, entrance.blob, entrance.folder)
    env = {"NODE_PATH": str(node_modules)}
    done = entrance.site.run(need("node"), NODE / "with_ssh2.js", *words, env=env)
    assert done.stdout.split() == ["status", "ran", "copied", "forwarded"]
    assert same(entrance.blob, entrance.folder / "up", entrance.folder / "down")
