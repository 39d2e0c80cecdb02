"""Which lines are keys that may be registered, against real ssh-keygen."""

from __future__ import annotations

import base64
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kled_coord.identity.key_line import parse_key_line
from kled_wire.errors import InputError


def keygen(folder: Path, *arguments: str) -> str:
    file = folder / "key"
    subprocess.run(
        ["ssh-keygen", "-q", "-N", "", "-C", "a comment", "-f", file, *arguments], check=True
    )
    return (folder / "key.pub").read_text()


def refused(line: str) -> str:
    with pytest.raises(InputError) as caught:
        parse_key_line(line)
    assert caught.value.code == "public_key_invalid"
    return caught.value.message


def packed(*fields: bytes) -> str:
    return base64.b64encode(b"".join(len(f).to_bytes(4, "big") + f for f in fields)).decode()


@pytest.mark.parametrize(
    "kind", [("ed25519",), *(("ecdsa", "-b", bits) for bits in ("256", "384", "521"))], ids=str
)
def test_what_ssh_keygen_makes_is_taken_with_its_fingerprint(
    tmp_path: Path, kind: tuple[str, ...]
) -> None:
    line = keygen(tmp_path, "-t", *kind)
    parsed = parse_key_line(line)
    shown = subprocess.check_output(["ssh-keygen", "-l", "-f", tmp_path / "key.pub"], text=True)
    assert parsed.fingerprint == shown.split()[1]
    assert parsed.key == " ".join(line.split()[:2])
    assert parsed.comment == "a comment"


def test_rsa_is_taken_from_3072_bits_on(tmp_path: Path) -> None:
    assert parse_key_line(keygen(tmp_path, "-t", "rsa", "-b", "3072"))
    (tmp_path / "key").unlink()
    assert "2048" in refused(keygen(tmp_path, "-t", "rsa", "-b", "2048"))


def test_keys_of_security_keys_are_taken(tmp_path: Path) -> None:
    point = base64.b64decode(keygen(tmp_path, "-t", "ed25519").split()[1])[-32:]
    kind = "sk-ssh-ed25519@openssh.com"
    line = f"{kind} {packed(kind.encode(), point, b'ssh:')}"
    (tmp_path / "sk.pub").write_text(line)
    shown = subprocess.check_output(["ssh-keygen", "-l", "-f", tmp_path / "sk.pub"], text=True)
    assert parse_key_line(line).fingerprint == shown.split()[1]
    (tmp_path / "key").unlink()
    blob = base64.b64decode(keygen(tmp_path, "-t", "ecdsa").split()[1])
    kind = "sk-ecdsa-sha2-nistp256@openssh.com"
    assert parse_key_line(f"{kind} {packed(kind.encode(), b'nistp256', blob[-65:], b'ssh:')}")


def test_nothing_else_is(tmp_path: Path) -> None:
    line = keygen(tmp_path, "-t", "ed25519")
    kind, blob, _ = line.split(None, 2)
    assert "options" in refused(f'command="id" {line}')
    assert "options" in refused(f"cert-authority {line}")
    assert "one line" in refused(line + line)
    assert "not of the kind" in refused(f"ssh-rsa {blob}")
    assert "base64" in refused(f"{kind} {blob[:-1]}")
    assert "base64" in refused(f"{kind} {blob}=")
    assert "cut off" in refused(f"{kind} {blob[:40]}")
    assert "not of the kind" in refused(f"{kind} {packed(kind.encode(), bytes(32), b'more')}")
    assert "kind that it names" in refused(f"{kind} {packed(kind.encode(), bytes(31))}")
    off_curve = packed(b"ecdsa-sha2-nistp256", b"nistp256", b"\x04" + bytes(64))
    assert "kind that it names" in refused(f"ecdsa-sha2-nistp256 {off_curve}")
    assert "not supported" in refused(f"ssh-dss {blob}")
    assert "certificate" in refused(f"ssh-ed25519-cert-v01@openssh.com {blob}")
    assert "too long" in refused(line + "x" * 20_000)
    for nothing in ("", "  ", "ssh-ed25519", "\0"):
        refused(nothing)


def test_a_private_key_is_refused_and_not_repeated(tmp_path: Path) -> None:
    keygen(tmp_path, "-t", "ed25519")
    private = (tmp_path / "key").read_text()
    said = refused(private)
    assert "private key" in said
    assert not any(part in said for part in private.split() if len(part) > 20)


@given(st.text(max_size=80) | st.from_regex(r"ssh-(rsa|ed25519) [A-Za-z0-9+/=]{0,90}"))
def test_garbage_is_refused_in_one_way(line: str) -> None:
    refused(line)
