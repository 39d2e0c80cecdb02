"""Certificates, read back with the library and by ssh-keygen."""

from __future__ import annotations

import os
import shutil
import subprocess
from datetime import timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    SSHCertificate,
    load_ssh_public_identity,
)
from hypothesis import given
from hypothesis import strategies as st

from kled_coord.ca.certificates import Authority, parse_public_key
from kled_coord.sources import Ids
from kled_wire.errors import InputError


def line(key) -> str:
    return key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()


@pytest.fixture
def authority(clock) -> Authority:
    return Authority(
        key=Ed25519PrivateKey.generate(), clock=clock, ids=Ids(os.urandom), user_lifetime_s=600
    )


def test_a_user_certificate_is_short_and_names_one_user(authority, clock) -> None:
    signed = authority.sign_user(
        line(Ed25519PrivateKey.generate()), key_id="alice@tok_1", principals=["user:usr_1"]
    )
    cert = load_ssh_public_identity(signed.line.encode())
    assert isinstance(cert, SSHCertificate)
    cert.verify_cert_signature()
    assert cert.valid_principals == [b"user:usr_1"]
    assert cert.key_id == b"alice@tok_1"
    assert cert.valid_after == int((clock() - timedelta(seconds=60)).timestamp())
    assert cert.valid_before == int((clock() + timedelta(seconds=600)).timestamp())
    assert set(cert.extensions) == {
        b"permit-pty",
        b"permit-port-forwarding",
        b"permit-agent-forwarding",
        b"permit-X11-forwarding",
        b"permit-user-rc",
    }
    assert cert.critical_options == {}


@pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="ssh-keygen is not installed")
def test_openssh_reads_a_host_certificate(authority, tmp_path) -> None:
    signed = authority.sign_host(
        line(rsa.generate_private_key(65537, 2048)),
        key_id="agt_1",
        names=["dev.kled", "dev.alice.kled"],
    )
    path = tmp_path / "host-cert.pub"
    path.write_text(signed.line + "\n")
    shown = subprocess.run(
        ["ssh-keygen", "-L", "-f", path], check=True, capture_output=True, text=True
    ).stdout
    assert "host certificate" in shown
    assert "dev.alice.kled" in shown


def test_a_weak_key_is_refused() -> None:
    with pytest.raises(InputError, match="2048"):
        parse_public_key(line(rsa.generate_private_key(65537, 1024)))


@given(st.text(max_size=100))
def test_noise_is_not_a_key(noise) -> None:
    with pytest.raises(InputError):
        parse_public_key("ssh-ed25519 " + noise)
