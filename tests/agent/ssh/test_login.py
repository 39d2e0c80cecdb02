"""Who gets in, and how the server proves itself: real certificates, real OpenSSH."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import pytest
import trio

from kled_agent.ssh.server import CIPHERS
from kled_wire.errors import ProtocolError
from tests.agent.conftest import Records
from tests.agent.ssh.site import PRINCIPAL, Keys, Site, keygen, run


async def test_a_certificate_of_our_authority_for_our_principal_gets_in(site: Site) -> None:
    assert (await site.ssh("echo in")).stdout == b"in\n"


@pytest.mark.parametrize(
    ("name", "more"),
    [
        ("foreign", {"ca": "other_ca"}),
        ("expired", {"valid": "-2h:-1h"}),
        ("early", {"valid": "+1h:+2h"}),
        ("somebody", {"principal": "user:usr_2"}),
        ("nearly", {"principal": PRINCIPAL + "1"}),
        ("login_name", {"principal": "any"}),
    ],
)
async def test_another_certificate_does_not(site: Site, name: str, more: dict[str, str]) -> None:
    site.keys.certify(name, **more)
    done = await site.ssh("echo in", certificate=name)
    assert (done.returncode, done.stdout) == (255, b"")
    assert b"Permission denied (publickey)" in done.stderr


async def test_one_of_several_principals_is_enough(site: Site) -> None:
    site.keys.certify("several", principal=f"a,{PRINCIPAL},b")
    assert (await site.ssh("echo in", certificate="several")).stdout == b"in\n"


async def test_the_bare_key_without_its_certificate_does_not(site: Site) -> None:
    options = [o for o in site.options() if "CertificateFile" not in o]
    bare = site.home / "bare"
    shutil.copy(site.keys.folder / "user", bare)
    options = [o if "IdentityFile" not in o else f"-oIdentityFile={bare}" for o in options]
    done = await run(["ssh", *options, "any@ws.kled", "echo in"])
    assert (done.returncode, done.stdout) == (255, b"")


async def test_passwords_are_not_even_asked_for(site: Site) -> None:
    done = await site.ssh(
        "true", options=["-oPreferredAuthentications=password,keyboard-interactive", "-v"]
    )
    assert done.returncode == 255
    assert b"Permission denied (publickey)" in done.stderr


async def test_the_host_proves_itself_with_its_certificate(site: Site) -> None:
    (site.home / "known").write_text("@cert-authority * " + site.keys.text("other_ca.pub"))
    done = await site.ssh("true", options=[], certificate="good")
    assert done.returncode == 0
    options = [o if "KnownHosts" not in o else f"-oUserKnownHostsFile={site.home}/known"
               for o in site.options()]  # fmt: skip
    done = await run(["ssh", *options, "any@ws.kled", "true"])
    assert done.returncode == 255
    assert b"Host key verification failed" in done.stderr


async def test_other_principals_count_from_the_next_connection_on(site: Site) -> None:
    site.host.renew(dataclasses.replace(site.keys.identity(), principals=("user:usr_9",)))
    assert (await site.ssh("true")).returncode == 255
    site.host.renew(site.keys.identity())
    assert (await site.ssh("true")).returncode == 0


async def test_no_principal_lets_nobody_in(site: Site) -> None:
    site.host.renew(dataclasses.replace(site.keys.identity(), principals=()))
    assert (await site.ssh("true")).returncode == 255


async def test_a_certificate_that_is_none_leaves_the_old_one(site: Site) -> None:
    broken = dataclasses.replace(site.keys.identity(), host_certificate="ssh-ed25519 AAAA")
    with pytest.raises(ProtocolError) as caught:
        site.host.renew(broken)
    assert caught.value.code == "certificate_malformed"
    assert (await site.ssh("true")).returncode == 0


@pytest.mark.parametrize("cipher", CIPHERS)
async def test_every_cipher_carries_a_transfer_both_ways(site: Site, cipher: str) -> None:
    blob = bytes(range(256)) * 8000
    done = await site.ssh("cat", stdin=blob, options=["-c", cipher])
    assert done.stdout == blob


async def test_garbage_instead_of_ssh_ends_only_that_connection(
    site: Site, records: Records
) -> None:
    for said in (b"GET / HTTP/1.1\r\n\r\n", bytes(100_000), b"SSH-2.0-x\r\n" + bytes(5000), b""):
        stream = await trio.open_tcp_stream("127.0.0.1", site.port)
        async with stream:
            try:
                await stream.send_all(said)
                await stream.send_eof()
                with trio.fail_after(10):
                    while await stream.receive_some():
                        pass
            except trio.BrokenResourceError:
                continue
    assert (await site.ssh("exit 3")).returncode == 3
    assert not records.having("ssh_failed")


def test_the_host_key_file_is_what_ssh_keygen_reads(keys: Keys, tmp_path: Path) -> None:
    keygen("-L", "-f", keys.folder / "host-cert.pub")
    assert keys.identity().host_key.startswith("-----BEGIN OPENSSH PRIVATE KEY-----")
