"""asyncssh's server connection with a fast path for channel data under AES-GCM.

Measured (docs/architecture.md, SSH): asyncssh copies each 32 KiB packet about ten times, builds a
cipher object for it and precedes it with an encrypted IGNORE packet, a defence that only CBC
ciphers need (RFC 4251, section 9.3.1). `MSG_CHANNEL_DATA` goes past all that here; every other
packet, every other cipher, compression and key exchange go asyncssh's own way. The two paths share
sequence numbers and nonces through `FastPathGcm`, which takes the place of asyncssh's object.

No other file knows this much of asyncssh 2.2x (its modules `connection` and `encryption`);
tests/agent/ssh/test_fastpath.py runs both paths against OpenSSH.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Final

import asyncssh
from asyncssh.encryption import GCMEncryption
from asyncssh.packet import SSHPacket, SSHPacketLogger
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from kled_agent.ssh.guess import is_wrong_guess
from kled_wire.limits import SSH_PACKET_BYTES, SSH_WINDOW_BYTES
from kled_wire.ssh.asyncio_bridge import StreamTransport

MSG_IGNORE: Final = 2  # RFC 4253, section 12
MSG_CHANNEL_DATA: Final = 94  # RFC 4254, section 9
# How a signature by RSA over SHA-1 begins: sshd has taken none since OpenSSH 8.8.
_SHA1_SIGNATURE: Final = b"\x00\x00\x00\x07ssh-rsa"
_TAG_BYTES: Final = 16  # RFC 5647, section 6
_BLOCK_BYTES: Final = 16
_LENGTH_BYTES: Final = 4
# Padding length, message type, channel, string length: what precedes the data.
_DATA_OFFSET: Final = 1 + 1 + 4 + 4
_ZEROS: Final = bytes(2 * _BLOCK_BYTES)


class FastPathGcm(GCMEncryption):
    """AES-GCM packet encryption (RFC 5647) that keeps its key schedule. One per direction."""

    def __init__(self, replaced: GCMEncryption) -> None:
        inner: Any = replaced._cipher  # noqa: SLF001 - see above
        super().__init__(inner)
        self._aead = AESGCM(inner._key)  # noqa: SLF001
        self._fixed: bytes = inner._iv[:4]  # noqa: SLF001
        self._invocation = int.from_bytes(inner._iv[4:], "big")  # noqa: SLF001

    def _next_nonce(self) -> bytes:
        nonce = self._fixed + self._invocation.to_bytes(8, "big")
        self._invocation = (self._invocation + 1) & 0xFFFFFFFFFFFFFFFF
        return nonce

    def encrypt_packet(self, seq: int, header: bytes, packet: bytes) -> tuple[bytes, bytes]:
        sealed = self.seal(header, packet)
        return header + sealed[:-_TAG_BYTES], sealed[-_TAG_BYTES:]

    def decrypt_packet(
        self, seq: int, first: bytes, rest: bytes, header_len: int, mac: bytes
    ) -> bytes | None:
        return self.open(first[:header_len], first[header_len:] + rest + mac)

    def seal(self, header: bytes, packet: bytes) -> bytes:
        """The encrypted packet and its tag."""
        return self._aead.encrypt(self._next_nonce(), packet, header)

    def open(self, header: bytes | memoryview, sealed: bytes | memoryview) -> bytes | None:
        """The packet, or None when the tag does not match."""
        try:
            return self._aead.decrypt(self._next_nonce(), sealed, header)
        except InvalidTag:
            return None

    def unread(self) -> None:
        """Step back one nonce: the packet just opened will be opened again by asyncssh."""
        self._invocation = (self._invocation - 1) & 0xFFFFFFFFFFFFFFFF


class PlainKeyOwner(asyncssh.SSHServer):
    """A server that wants to know with which key a client has come in."""

    def public_key_proven(self, key_data: bytes) -> None:
        """A signature by the key or certificate `key_data` (RFC 4253, section 6.6) was right."""


class FastPathConnection(asyncssh.SSHServerConnection):
    """One server connection; made with asyncssh's own constructor arguments."""

    # Opens what a client's agent is reached by in its sessions; set by the server's callbacks.
    listen_for_agent: Callable[[], Awaitable[Any]] | None = None

    def corked(self) -> AbstractContextManager[None]:
        """Hold packets sent inside the block and send them together."""
        transport = self._transport
        return transport.corked() if isinstance(transport, StreamTransport) else nullcontext()

    def dismiss(self, reason: str) -> None:
        """Tell the client why there is no more (RFC 4253, 11.1), upon which it closes."""
        code = asyncssh.DISC_SERVICE_NOT_AVAILABLE
        self._send_disconnect(code, reason, asyncssh.DEFAULT_LANG)

    def choose_server_host_key(self, peer_host_key_algs: Sequence[bytes]) -> bool:
        """As asyncssh's; and here both proposals are known: judge a guessed packet as sshd does."""
        self._ignore_first_kex = is_wrong_guess(self._client_kexinit, self._server_kexinit)
        return super().choose_server_host_key(peer_host_key_algs)

    async def validate_public_key(
        self, username: str, key_data: bytes, msg: bytes, signature: bytes
    ) -> bool:
        """As asyncssh's, without signatures over SHA-1; tells the server of a proven plain key."""
        if msg and signature.startswith(_SHA1_SIGNATURE):
            return False
        valid = await super().validate_public_key(username, key_data, msg, signature)
        if valid and msg:
            assert isinstance(self._owner, PlainKeyOwner)
            self._owner.public_key_proven(key_data)
        return valid

    def create_tcp_channel(
        self,
        encoding: str | None = None,
        errors: str = "strict",
        window: int = SSH_WINDOW_BYTES,
        max_pktsize: int = SSH_PACKET_BYTES,
    ) -> asyncssh.SSHTCPChannel[Any]:
        """A channel of a TCP forward: asyncssh's own, with room for a long way's bytes."""
        return super().create_tcp_channel(encoding, errors, window, max_pktsize)

    def create_unix_channel(
        self,
        encoding: str | None = None,
        errors: str = "strict",
        window: int = SSH_WINDOW_BYTES,
        max_pktsize: int = SSH_PACKET_BYTES,
    ) -> asyncssh.SSHUNIXChannel[Any]:
        """As `create_tcp_channel`, for a Unix socket."""
        return super().create_unix_channel(encoding, errors, window, max_pktsize)

    async def create_agent_listener(self) -> bool:
        """As asyncssh's, with a socket that is the sessions' user's."""
        permitted = all(
            check("agent-forwarding")
            for check in (self.check_key_permission, self.check_certificate_permission)
        )
        if self._agent_listener is None and permitted and self.listen_for_agent is not None:
            self._agent_listener = await self.listen_for_agent()
        return self._agent_listener is not None

    def _process_ignore(self, _pkttype: int, _pktid: int, _packet: SSHPacket) -> None:
        """Whatever is in it: some clients put no string there (RFC 4253, section 11.2)."""

    _packet_handlers = {  # noqa: RUF012 - as asyncssh has it
        **asyncssh.SSHServerConnection._packet_handlers,  # noqa: SLF001 - see above
        MSG_IGNORE: _process_ignore,
    }

    def send_packet(
        self, pkttype: int, *args: bytes, handler: SSHPacketLogger | None = None
    ) -> None:
        encryption = self._send_encryption
        if type(encryption) is GCMEncryption:
            encryption = self._send_encryption = FastPathGcm(encryption)
        if (
            pkttype == MSG_CHANNEL_DATA
            and isinstance(encryption, FastPathGcm)
            and self._may_send_fast()
        ):
            self._send_fast(encryption, b"".join(args))
        else:
            super().send_packet(pkttype, *args, handler=handler)

    def _may_send_fast(self) -> bool:
        return (
            self._auth_complete
            and self._kex_complete
            and not self._compressor
            and self._transport is not None
            and self._rekey_bytes_sent < self._rekey_bytes
            and not (self._rekey_seconds and time.monotonic() >= self._rekey_time)
        )

    def _send_fast(self, encryption: FastPathGcm, payload: bytes) -> None:
        assert self._transport is not None
        # RFC 4253, section 6: at least 4 bytes of padding, to a multiple of the block. The
        # content of padding is arbitrary; under GCM it protects nothing.
        padding = -(2 + len(payload)) % _BLOCK_BYTES
        if padding < 4:
            padding += _BLOCK_BYTES
        packet = b"".join((bytes((padding, MSG_CHANNEL_DATA)), payload, _ZEROS[:padding]))
        header = len(packet).to_bytes(_LENGTH_BYTES, "big")
        self._transport.writelines((header, encryption.seal(header, packet)))
        self._send_seq = (self._send_seq + 1) & 0xFFFFFFFF
        self._rekey_bytes_sent += len(packet)

    def _recv_pkthdr(self) -> bool:
        encryption = self._recv_encryption
        if type(encryption) is GCMEncryption:
            encryption = self._recv_encryption = FastPathGcm(encryption)
        if isinstance(encryption, FastPathGcm) and self._auth_final and not self._decompressor:
            self._receive_fast(encryption)
        return bool(super()._recv_pkthdr())

    def _receive_fast(self, encryption: FastPathGcm) -> None:
        """Take channel data off the front of the input, up to the first packet of another kind."""
        buffer = memoryview(self._inpbuf)
        start = 0
        while (packet := self._open_next(encryption, buffer, start)) is not None:
            if packet[1] != MSG_CHANNEL_DATA or not self._deliver(packet):
                encryption.unread()
                break
            start += _LENGTH_BYTES + len(packet) + _TAG_BYTES
            self._recv_seq = (self._recv_seq + 1) & 0xFFFFFFFF
        if start:
            self._inpbuf = bytes(buffer[start:])

    def _open_next(self, encryption: FastPathGcm, buffer: memoryview, start: int) -> bytes | None:
        body = start + _LENGTH_BYTES
        length = int.from_bytes(buffer[start:body], "big")
        end = body + length + _TAG_BYTES
        if len(buffer) < end or length < _DATA_OFFSET or length > self._max_recv_pktlen:
            return None  # not all there, or something for asyncssh to judge
        packet = encryption.open(buffer[start:body], buffer[body:end])
        if packet is None:
            encryption.unread()  # asyncssh opens it again and ends the connection
        return packet

    def _deliver(self, packet: bytes) -> bool:
        channel = self._channels.get(int.from_bytes(packet[2:6], "big"))
        size = int.from_bytes(packet[6:_DATA_OFFSET], "big")
        end = _DATA_OFFSET + size
        if (
            channel is None
            or channel._recv_state != "open"  # noqa: SLF001 - see above
            or size > channel._recv_window  # noqa: SLF001
            or end + packet[0] != len(packet)
        ):
            return False
        channel._accept_data(packet[_DATA_OFFSET:end])  # noqa: SLF001
        return True
