"""An agent that is root, and sessions of somebody else: each service of a session."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.e2e.test_forwards import ask
from tests.e2e.test_forwards import ssh as forwarding
from tests.kit.echo import echoing
from tests.kit.programs import need
from tests.kit.site import BIN, PROCESS_TEMPLATE, Site, open_site
from tests.kit.sockets import is_open
from tests.kit.waiting import wait_until

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root has sessions of others")


@dataclass(frozen=True, slots=True, kw_only=True)
class Other:
    """A site whose workspace `dev` has sessions of `name`."""

    site: Site
    name: str
    home: Path

    def is_theirs(self, path: Path) -> bool:
        return path.lstat().st_uid == pwd.getpwnam(self.name).pw_uid


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Other]:
    name = f"kled{os.getpid()}"
    home = Path(f"/home/{name}")
    words: list[str | Path] = [need("useradd"), "--create-home", "--home-dir", home]
    words += ["--shell", "/bin/bash", name]
    subprocess.run(words, check=True)
    template = tmp_path_factory.mktemp("template") / "other"
    shutil.copytree(PROCESS_TEMPLATE, template)
    file = template / "main.tf"
    before = "    KLED_COORDINATOR_URL ="
    assert before in file.read_text()
    changed = file.read_text().replace(before, f'    KLED_AGENT_USER = "{name}"\n{before}')
    file.write_text(changed)
    try:
        with open_site(template=template) as site:
            site.kled("create", "dev", "--template", "process")
            yield Other(site=site, name=name, home=home)
    finally:
        subprocess.run(["userdel", "--remove", name], check=True, capture_output=True)


def test_commands_and_copies_are_the_users(other: Other, tmp_path: Path) -> None:
    site, blob = other.site, tmp_path / "blob"
    blob.write_bytes(os.urandom(2_000_000))
    assert site.ssh("dev.kled", "id -un; pwd").stdout.split() == [other.name, str(other.home)]
    words = ("-F", site.ssh_config, "-o", "ControlPath=none")
    for name, flags in (("by_sftp", ()), ("by_scp", ("-O",))):
        site.run("scp", "-q", *flags, *words, blob, f"dev.kled:{name}")
        assert (other.home / name).read_bytes() == blob.read_bytes()
        assert other.is_theirs(other.home / name)
    site.kled("cp", blob, "dev:by_kled")
    assert (other.home / "by_kled").read_bytes() == blob.read_bytes()
    assert other.is_theirs(other.home / "by_kled")
    site.run("rsync", "-e", " ".join(site.ssh_words()), blob, "dev.kled:by_rsync")
    assert other.is_theirs(other.home / "by_rsync")
    refused = site.run("scp", "-q", *words, blob, "dev.kled:/root/no", check=False)
    assert refused.returncode != 0
    assert "Permission denied" in refused.stderr
    assert not Path("/root/no").exists()


def test_unix_sockets_of_forwards_are_the_users(other: Other) -> None:
    inside, there = str(other.home / "inside"), str(other.home / "there")
    here = str(other.site.root / "here")
    with echoing(inside):
        Path(inside).chmod(0o666)
        with forwarding(other.site, "-L", f"{here}:{inside}", until=here):
            assert ask(here) == b"HELLO"
        with forwarding(other.site, "-R", f"{there}:{inside}", until=there):
            assert ask(there) == b"HELLO"
            assert other.is_theirs(Path(there))
            assert Path(there).stat().st_mode & 0o777 == 0o600
    wait_until("the socket is gone", lambda: not Path(there).exists())


@pytest.mark.parametrize("client", ["ssh", "kled"])
def test_the_clients_agent_is_reached(other: Other, client: str) -> None:
    site = other.site
    path = str(site.root / f"agent-{client}")
    with site.running("ssh-agent", "-D", "-a", path):
        wait_until("the agent listens", lambda: is_open(path))
        env, key = {"SSH_AUTH_SOCK": path}, site.root / f"key-{client}"
        site.run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key)
        site.run("ssh-add", "-q", key, env=env)
        listed = "ssh-add -L; stat -c %U $SSH_AUTH_SOCK"
        if client == "ssh":
            done = site.ssh("-A", "dev.kled", listed, env=env)
        else:
            done = site.kled("ssh", "-A", "dev", "--", listed, env=env)
        assert Path(f"{key}.pub").read_text().split()[1] in done.stdout
        assert done.stdout.split()[-1] == other.name


def test_a_named_session_is_the_users(other: Other) -> None:
    words = (BIN / "kled", "ssh", "dev", "--session", "main")
    ours, theirs = os.openpty()
    try:
        with other.site.running(*words, stdin=theirs, stdout=theirs, stderr=theirs):
            os.write(ours, b"id -un > who; echo $((6 * 7)) >> who\n")
            said = other.home / "who"
            expected = f"{other.name}\n42\n"
            wait_until("it ran", lambda: said.exists() and said.read_text() == expected)
            assert other.is_theirs(said)
            assert [one["name"] for one in other.site.ask("session", "list", "dev")] == ["main"]
        other.site.kled("session", "kill", "dev", "main")
    finally:
        os.close(ours)
        os.close(theirs)


def test_a_port_of_root_is_refused(other: Other) -> None:
    done = other.site.kled("forward", "dev", "--remote", "80:8080", check=False)
    assert done.returncode == 5
    assert "Permission denied" in done.stderr
