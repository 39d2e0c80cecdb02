"""Makes the agent's SSH host key (Ed25519, RFC 8709), in a process of its own.

So the agent does not carry the cryptography library in memory until a session needs it. The process
takes as long as the agent's own start-up: whoever begins it early waits for neither. Without Trio,
for that reason.
"""

from __future__ import annotations

import subprocess
import sys
from typing import Final, NamedTuple

from kled_wire.errors import ConfigError

_MAKE_KEY: Final = """
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives import serialization as s
key = Ed25519PrivateKey.generate()
print(key.private_bytes(s.Encoding.PEM, s.PrivateFormat.OpenSSH, s.NoEncryption()).decode(), end="")
print(key.public_key().public_bytes(s.Encoding.OpenSSH, s.PublicFormat.OpenSSH).decode())
"""


class HostKey(NamedTuple):
    """A key pair in OpenSSH's text forms."""

    private: str
    public: str


class HostKeyMaking:
    """A key that is being made. Made by `begin_host_key`."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    def finish(self) -> HostKey:
        """Wait for the key. Blocks; raises ConfigError("host_key_failed")."""
        made, said = self._process.communicate()
        if self._process.returncode != 0:
            last = said.decode(errors="replace").strip().rpartition("\n")[2]
            raise ConfigError("host_key_failed", f"cannot create the host key: {last}")
        private, _, public = made.decode().strip().rpartition("\n")
        return HostKey(private + "\n", public)

    def give_up(self) -> None:
        """End it, if it has not ended."""
        self._process.kill()


def begin_host_key() -> HostKeyMaking:
    """Begin to make a key. Raises ConfigError("host_key_failed")."""
    try:
        process = subprocess.Popen(
            [sys.executable, "-c", _MAKE_KEY],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
    except OSError as exc:
        raise ConfigError("host_key_failed", f"cannot create the host key: {exc}") from exc
    return HostKeyMaking(process)
