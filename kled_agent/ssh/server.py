"""The SSH server's permissions: log in by certificate or key, open sessions, forward."""

from __future__ import annotations

import base64
import re
from collections.abc import Awaitable, Iterable
from typing import Any, Final, Protocol

import asyncssh
import trio
from asyncssh.mac import get_mac_algs

from kled_agent.ssh.fastpath import FastPathConnection, PlainKeyOwner
from kled_agent.ssh.forwards.forward import Forwards
from kled_agent.ssh.forwards.user_sockets import UserSockets
from kled_agent.ssh.identity import SessionDefaults, SshIdentity
from kled_agent.ssh.session import SshSession
from kled_wire.eventlog import EventLog
from kled_wire.limits import SSH_PACKET_BYTES, SSH_WINDOW_BYTES
from kled_wire.scheduling import TypingPriority
from kled_wire.ssh.channel_stream import ChannelStream
from kled_wire.ssh.window import bound_window, hear_refusal

# AES-GCM first: with AES instructions it is the fastest by far (docs/architecture.md, SSH).
CIPHERS: Final = (
    "aes128-gcm@openssh.com",
    "aes256-gcm@openssh.com",
    "chacha20-poly1305@openssh.com",
    "aes256-ctr",
    "aes128-ctr",
)

# ssh(1) tells no other server that it takes no more output (`ssh dev yes | head -1`): it asks for
# this name first (OpenSSH's compat.c and PROTOCOL, section 2.1).
VERSION: Final = "OpenSSH_compatible_Kled"
# The key exchange methods of asyncssh without SHA-1, groups of 1024 bits and other servers' private
# names.
_KEX: Final = "-*-sha1,diffie-hellman-group-exchange-*,rsa*"
_POOR_MACS: Final = re.compile(r".*sha1.*|umac-64.*|.*@ssh\.com")


def good_macs(offered: Iterable[str]) -> list[str]:
    """The MACs of asyncssh's to offer. It has umac only on machines with libnettle."""
    return [name for name in offered if not _POOR_MACS.fullmatch(name)]


class KeyCheck(Protocol):
    """Decides which registered keys one stream accepts."""

    def find(self, key: str) -> str | None:
        """The id of `key` (type and base64) when it may, else None."""
        ...

    def used(self, key_id: str) -> None:
        """Somebody has proven to hold it."""
        ...


class SshServer(PlainKeyOwner):
    """Callbacks of one connection. Authentication itself is asyncssh's, by public key only.

    `keys` judges what is no certificate of our authority's.
    Sessions live in `nursery`, which outlives the connection; its forwards in `forwarding`.
    """

    def __init__(
        self,
        nursery: trio.Nursery,
        forwarding: trio.Nursery,
        sockets: UserSockets,
        defaults: SessionDefaults,
        priority: TypingPriority,
        keys: KeyCheck,
        log: EventLog,
    ) -> None:
        self._nursery = nursery
        self._forwarding = forwarding
        self._sockets = sockets
        self._defaults = defaults
        self._priority = priority
        self._keys = keys
        self._log = log
        self._connection: FastPathConnection | None = None

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        assert isinstance(conn, FastPathConnection)
        self._connection = conn
        conn.listen_for_agent = self._forwards.listen_for_agent

    @property
    def _forwards(self) -> Forwards:
        assert self._connection is not None
        user = self._defaults.user
        return Forwards(self._connection, self._forwarding, self._sockets, user, self._log)

    def begin_auth(self, username: str) -> bool:
        return True

    def validate_public_key(self, username: str, key: asyncssh.SSHKey) -> bool:
        return self._keys.find(_text(key.public_data)) is not None

    def public_key_proven(self, key_data: bytes) -> None:
        key_id = self._keys.find(_text(key_data))
        if key_id is not None:
            self._log.info("ssh_key_used", key=key_id)
            self._keys.used(key_id)

    def auth_completed(self) -> None:
        self._log.info("ssh_authenticated")

    def session_requested(
        self,
    ) -> tuple[asyncssh.SSHServerChannel[bytes], asyncssh.SSHServerSession[bytes]]:
        assert self._connection is not None
        channel = self._connection.create_server_channel(
            encoding=None, window=SSH_WINDOW_BYTES, max_pktsize=SSH_PACKET_BYTES
        )
        bound_window(channel)
        session = SshSession(
            self._nursery, self._defaults, self._connection.corked, self._priority, self._log
        )
        hear_refusal(channel, session.output_refused)
        return channel, session

    def connection_requested(
        self, dest_host: str, dest_port: int, orig_host: str, orig_port: int
    ) -> Awaitable[ChannelStream]:
        return self._forwards.open_tcp(dest_host, dest_port)

    def unix_connection_requested(self, dest_path: str) -> Awaitable[ChannelStream]:
        return self._forwards.open_path(dest_path)

    def server_requested(
        self, listen_host: str, listen_port: int
    ) -> Awaitable[asyncssh.SSHListener | bool]:
        return self._forwards.listen_tcp(listen_host, listen_port)

    def unix_server_requested(self, listen_path: str) -> Awaitable[asyncssh.SSHListener | bool]:
        return self._forwards.listen_path(listen_path)


def _text(key_data: bytes) -> str:
    """Type and base64 as in authorized_keys(5); the type is the first string of the data."""
    end = 4 + int.from_bytes(key_data[:4], "big")
    kind = key_data[4:end].decode("ascii", "replace")
    return f"{kind} {base64.b64encode(key_data).decode()}"


def server_options(identity: SshIdentity) -> dict[str, Any]:
    """The options of asyncssh for a server that proves itself and believes our authority.

    With `principals` in the key options asyncssh compares those with the certificate's instead of
    the login name: any login name means the configured user.
    """
    names = ",".join(identity.principals)
    trusted = f'cert-authority,principals="{names}" {identity.user_ca}'
    return {
        "server_host_keys": [asyncssh.import_private_key(identity.host_key)],
        "server_host_certs": [asyncssh.import_certificate(identity.host_certificate)],
        "send_server_host_keys": False,
        "authorized_client_keys": asyncssh.import_authorized_keys(trusted + "\n"),
        "public_key_auth": True,
        "password_auth": False,
        "kbdint_auth": False,
        "host_based_auth": False,
        "gss_host": None,
        "server_version": VERSION,
        "kex_algs": _KEX,
        "encryption_algs": list(CIPHERS),
        "mac_algs": good_macs(name.decode() for name in get_mac_algs()),
        "compression_algs": ["none"],
        "line_editor": False,
        "agent_forwarding": True,
        "x11_forwarding": False,
        # A client's keepalives are answered. Of our own there are none at this level, because
        # asyncssh rearms a timer for every read; each hop's TCP keepalive finds a dead peer.
        "keepalive_interval": 0,
        "login_timeout": 30,
        "window": SSH_WINDOW_BYTES,
        "max_pktsize": SSH_PACKET_BYTES,
    }
