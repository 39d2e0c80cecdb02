"""Registered keys: clients that know no certificates, and all that keeps a key out."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.kit.programs import need
from tests.kit.site import BIN, Done, Site, open_site
from tests.kit.waiting import wait_until

BLOB = os.urandom(1_500_000)


@dataclass
class Place:
    """A site with a workspace, and one plain key of its person."""

    site: Site
    key: Path
    known: Path

    def register(self, *options: str, key: Path | None = None, **more: Any) -> dict[str, Any]:
        public = f"{key or self.key}.pub"
        words = ("--output", "json", "key", "add", public, *options)
        made: dict[str, Any] = json.loads(self.site.kled(*words, **more).stdout)
        return made

    def ssh_words(self, key: Path | None = None) -> list[str]:
        """OpenSSH with nothing but a plain key, through a ProxyCommand."""
        options = {
            "ProxyCommand": f"{BIN / 'kled'} stream dev",
            "HostKeyAlias": "dev.kled",
            "UserKnownHostsFile": str(self.known),
            "GlobalKnownHostsFile": "/dev/null",
            "StrictHostKeyChecking": "yes",
            "IdentityFile": str(key or self.key),
            "IdentitiesOnly": "yes",
            "BatchMode": "yes",
            "LogLevel": "ERROR",
        }
        return ["ssh", "-F", "none", *(f"-o{k}={v}" for k, v in options.items()), "me@dev.kled"]

    def ssh(self, *words: str, key: Path | None = None) -> Done:
        return self.site.run(*self.ssh_words(key), *words, check=False)

    def is_refused(self, key: Path | None = None) -> bool:
        done = self.ssh("true", key=key)
        assert done.returncode in {0, 255}, done.stderr
        assert done.returncode == 0 or "Permission denied (publickey)" in done.stderr
        return done.returncode == 255

    def audit(self, action: str) -> list[dict[str, Any]]:
        token = (self.site.home / ".config/kled/tokens/default").read_text().strip()
        answer = httpx.get(
            f"{self.site.url}/api/v1/audit?limit=100",
            headers={"Authorization": f"Bearer {token}"},
            trust_env=False,
        )
        return [row for row in answer.json() if row["action"] == action]

    @contextmanager
    def listening(self, *words: str) -> Iterator[int]:
        """`kled stream dev --listen`, and the port it has."""
        argv: list[str | Path] = [BIN / "kled", "stream", "dev", "--listen", "127.0.0.1:0", *words]
        with self.site.running(*argv) as process:
            assert process.stdout is not None
            yield int(process.stdout.readline().rpartition(b":")[2])


def make_key(folder: Path, name: str = "plain") -> Path:
    file = folder / name
    argv: list[str | Path] = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", file]
    subprocess.run(argv, check=True)
    return file


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    with open_site() as site:
        site.kled("create", "dev", "--template", "process")
        site.kled("create", "other", "--template", "process", "--no-wait")
        known = site.root / "known_hosts"
        known.write_text(site.kled("known-hosts", "dev").stdout)
        yield Place(site, make_key(site.root), known)


@pytest.fixture
def registered(place: Place) -> Iterator[dict[str, Any]]:
    """The key is good while the test runs."""
    made = place.register()
    assert made["unanswered"] == []
    yield made
    place.site.kled("key", "remove", made["id"], check=False)


def test_a_plain_key_comes_in_once_it_is_registered_and_is_audited(place: Place) -> None:
    assert place.is_refused()
    made = place.register("--name", "laptop")
    try:
        assert place.ssh("echo in").stdout == "in\n"
        wait_until("the use is audited", lambda: len(place.audit("key.use")) == 1)
        (row,) = place.audit("key.use")
        assert (row["user_name"], row["resource"]) == ("admin", f"key {made['id']}")
        assert made["fingerprint"] in row["detail"]
        assert place.site.ssh("dev.kled", "true").returncode == 0
        assert len(place.audit("key.use")) == 1
    finally:
        place.site.kled("key", "remove", made["id"])
    assert place.is_refused()


def test_a_removed_key_opens_nothing_new_and_ends_nothing_open(
    place: Place, registered: dict[str, Any]
) -> None:
    argv = (*place.ssh_words(), "cat")
    with place.site.running(*argv, stdin=subprocess.PIPE) as session:
        assert session.stdin is not None
        assert session.stdout is not None
        for said in (b"before\n", b"after\n"):
            session.stdin.write(said)
            session.stdin.flush()
            assert session.stdout.readline() == said
            if said == b"before\n":
                removed = place.site.ask("key", "remove", registered["id"])
                assert removed["unanswered"] == []
                assert place.is_refused()


def test_anothers_key_another_workspaces_and_an_expired_one_stay_out(place: Place) -> None:
    site = place.site
    made = site.ask("user", "create", "bob")
    env = {"KLED_CONFIG_DIR": str(site.root / "bob")}
    site.kled("login", site.url, "--code", "-", input=made["login_code"], env=env)
    bobs, others = make_key(site.root, "bobs"), make_key(site.root, "others")
    place.register(key=bobs, env=env)
    place.register("--workspace", "other", key=others)
    for key in (bobs, others):
        assert place.is_refused(key)
    place.register("--lifetime", "4s", key=make_key(site.root, "brief"))
    brief = site.root / "brief"
    if not place.is_refused(brief):
        wait_until("the key has expired", lambda: place.is_refused(brief))
    # Bob's token with bob's key leads nowhere: the workspace is not his.
    done = site.kled("stream", "dev.admin", env=env, check=False)
    assert (done.returncode, "no workspace" in done.stderr) == (4, True)


def test_a_client_without_certificates_or_proxies_uses_a_port(
    place: Place, registered: dict[str, Any]
) -> None:
    site, home = place.site, place.site.home
    dbclient, curl, plink = need("dbclient"), need("curl"), need("plink")
    site.run("dropbearconvert", "openssh", "dropbear", place.key, site.root / "key.db")
    site.run("puttygen", place.key, "-o", site.root / "key.ppk", "-O", "private")
    (home / "blob").write_bytes(BLOB)
    with place.listening("--resume", "always") as port:
        pinned = site.ask("known-hosts", "dev", "--host", f"127.0.0.1:{port}")
        lines = f"127.0.0.1 {pinned['key']}\n[127.0.0.1]:{port} {pinned['key']}\n"
        (home / ".ssh" / "known_hosts").write_text(lines)
        words: tuple[str | Path, ...]
        words = (dbclient, "-i", site.root / "key.db", "-p", str(port), "me@127.0.0.1", "echo in")
        assert site.run(*words).stdout == "in\n"
        words = (plink, "-batch", "-hostkey", pinned["fingerprint"], "-i", site.root / "key.ppk",
                 "-P", str(port), "me@127.0.0.1", "echo in")  # fmt: skip
        assert site.run(*words).stdout == "in\n"
        if "sftp" in site.run(curl, "--version").stdout.split():
            words = (curl, "-sS", "--key", place.key, "--pubkey", f"{place.key}.pub", "-u", "me:",
                     f"sftp://me@127.0.0.1:{port}{home}/blob", "-o", home / "got")  # fmt: skip
            site.run(*words)
            assert (home / "got").read_bytes() == BLOB
        # Somebody else's host key in the pin's place.
        (home / ".ssh" / "known_hosts").write_text(
            f"127.0.0.1 {Path(f'{place.key}.pub').read_text()}"
        )
        words = (dbclient, "-i", site.root / "key.db", "-p", str(port), "me@127.0.0.1", "echo in")
        assert site.run(*words, check=False).returncode != 0


def test_where_keys_are_off_none_comes_in_and_none_is_added(
    place: Place, registered: dict[str, Any]
) -> None:
    site = place.site
    assert not place.is_refused()
    site.stop_serving()
    site.serve(KLED_COORD_USER_KEYS="false")
    try:
        site.wait_connected("dev")
        assert place.is_refused()
        done = site.kled("key", "add", f"{place.key}.pub", check=False)
        assert (done.returncode, "does not accept registered keys" in done.stderr) == (3, True)
        assert site.ssh("dev.kled", "echo in").stdout == "in\n"
    finally:
        site.stop_serving()
        site.serve()
        site.wait_connected("dev")
    assert not place.is_refused()
    # After a restart nobody has signed in of late.
    done = site.kled("key", "add", f"{place.key}.pub", check=False)
    assert (done.returncode, "signed in within the last ten minutes" in done.stderr) == (3, True)
