"""A workspace, and a way into it for clients that nobody here wrote.

They use a registered key, or the person's `~/.ssh/config` as `kled config-ssh` wrote it; those
without a ProxyCommand use the port of `kled stream --listen` with the pinned host key.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.kit.site import BIN, Site

BLOB_BYTES = 5_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Entrance:
    """How a client gets in. `folder` is a fresh one in the workspace, `blob` a file outside."""

    site: Site
    key: Path
    port: int
    host_key: str  # as in known_hosts, without a name
    fingerprint: str
    folder: Path
    blob: Path

    @property
    def proxy(self) -> str:
        """The ProxyCommand of those that have one."""
        return f"{BIN / 'kled'} stream dev"

    @property
    def ssh(self) -> str:
        """OpenSSH with the person's configuration, for programs that start it by a line."""
        return " ".join(self.site.ssh_words())

    @property
    def ssh_script(self) -> Path:
        """As `ssh`, for those that want one word."""
        script = self.blob.parent / "ssh"
        script.write_text(f'#!/bin/sh\nexec {self.ssh} "$@"\n')
        script.chmod(0o755)
        return script


@pytest.fixture(scope="session")
def entrance_port(site: Site) -> Iterator[tuple[Path, int, dict[str, str]]]:
    """A registered key, and a port that leads to the workspace."""
    key = site.root / "plain"
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "plain", "-f", key], check=True
    )
    # Adding a key takes a sign-in of the last ten minutes, and the site may be older.
    code = site.run(BIN / "kled-coord", "user", "reset-login", "admin").stdout.split()[-1]
    site.kled("login", site.url, "--code", "-", input=code)
    site.kled("key", "add", f"{key}.pub")
    argv = (BIN / "kled", "stream", "dev", "--listen", "127.0.0.1:0", "--resume", "always")
    with site.running(*argv) as process:
        assert process.stdout is not None
        port = int(process.stdout.readline().rpartition(b":")[2])
        pinned = site.ask("known-hosts", "dev", "--host", f"127.0.0.1:{port}")
        lines = f"127.0.0.1 {pinned['key']}\n[127.0.0.1]:{port} {pinned['key']}\n"
        (site.home / ".ssh" / "known_hosts").write_text(lines)
        yield key, port, pinned


@pytest.fixture
def entrance(
    site: Site, entrance_port: tuple[Path, int, dict[str, str]], tmp_path: Path
) -> Iterator[Entrance]:
    """The workspace's files are on this machine, so both ends of a copy can be compared."""
    key, port, pinned = entrance_port
    with ExitStack() as stack:
        folder = tmp_path / "there"
        folder.mkdir()
        blob = tmp_path / "blob"
        blob.write_bytes(os.urandom(BLOB_BYTES))
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        yield Entrance(
            site=site,
            key=key,
            port=port,
            host_key=pinned["key"],
            fingerprint=pinned["fingerprint"],
            folder=folder,
            blob=blob,
        )
