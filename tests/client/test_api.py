"""What the API's client says when the coordinator is not there, or not the one."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio
import trustme

from kled_client.api import open_api
from kled_wire.errors import UnavailableError


@pytest.fixture
def impostor() -> Iterator[int]:
    """A port with TLS of an authority that nobody trusts."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("localhost").configure_cert(context)
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            link, _ = listener.accept()
            with link, pytest.raises(OSError):  # noqa: PT011  # the client turns away
                context.wrap_socket(link, server_side=True)

        thread = threading.Thread(target=serve)
        thread.start()
        yield int(listener.getsockname()[1])
        thread.join()


async def test_an_untrusted_certificate_is_told_as_one(impostor: int) -> None:
    async with open_api(f"https://localhost:{impostor}", None) as api:
        with pytest.raises(UnavailableError) as caught:
            await api.version()
    assert caught.value.code == "tls_untrusted"
    assert "not trusted: unable to get local issuer" in caught.value.message
    assert "--ca-file" in (caught.value.hint or "")


async def test_a_closed_port_is_told_as_one() -> None:
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listeners[0].socket.getsockname()[1]
    await listeners[0].aclose()
    async with open_api(f"http://127.0.0.1:{port}", None) as api:
        with pytest.raises(UnavailableError) as caught:
            await api.version()
    assert caught.value.code == "coordinator_unreachable"
    assert str(port) in caught.value.message


async def test_a_bad_authority_file_is_named(tmp_path: Path) -> None:
    missing = str(tmp_path / "missing.pem")
    with pytest.raises(UnavailableError) as caught:
        async with open_api("https://localhost:1", None, ca_file=missing):
            pass
    assert missing in caught.value.message
