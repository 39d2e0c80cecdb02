"""Make an SSH key pair in OpenSSH's format."""

from __future__ import annotations


def generate_key_pair(comment: str) -> tuple[bytes, bytes]:
    """A fresh Ed25519 pair: the private file's bytes and the public line."""
    import asyncssh  # noqa: PLC0415  # only the commands that need SSH pay for it

    key = asyncssh.generate_private_key("ssh-ed25519", comment=comment)
    return key.export_private_key(), key.export_public_key()
