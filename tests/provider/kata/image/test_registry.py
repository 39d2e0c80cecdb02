"""A registry whose answers are none: one sentence, whatever it sends."""

from __future__ import annotations

from functools import partial

import pytest
import trio

from kled_provider.kata.image.reference import parse_reference
from kled_provider.kata.image.registry import (
    RegistryError,
    RegistryLogin,
    RegistryReach,
    open_registry,
)

LOOP = b"HTTP/1.1 307 Elsewhere\r\nlocation: /token\r\ncontent-length: 0\r\n\r\n"
CUT = b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{"


def asks(parameter: bytes) -> bytes:
    return (
        b"HTTP/1.1 401 Who\r\ncontent-length: 0\r\nconnection: close\r\n"
        b'www-authenticate: Bearer realm="' + parameter + b'"\r\n\r\n'
    )


async def answer(said: bytes, of_token: bytes, stream: trio.SocketStream) -> None:
    """Answer each request alike, one for a token by `of_token`; then end."""
    while head := await stream.receive_some(65536):
        answered = of_token if head.startswith(b"GET /token") else said
        await stream.send_all(answered)
        if answered != LOOP:
            break
    await stream.aclose()


@pytest.mark.parametrize("said", [LOOP, CUT, b"SSH-2.0-x\r\n", b""])
@pytest.mark.parametrize("is_for_token", [False, True], ids=["manifest", "token"])
async def test_an_answer_that_is_none_is_told_in_one_sentence(
    said: bytes, is_for_token: bool
) -> None:
    async with trio.open_nursery() as nursery:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        host = f"127.0.0.1:{listener.socket.getsockname()[1]}"
        first = asks(f"http://{host}/token".encode()) if is_for_token else said
        nursery.start_soon(trio.serve_listeners, partial(answer, first, said), [listener])
        reference = parse_reference(f"{host}/a/b:1")
        reach = RegistryReach(is_plain_http=True)
        async with open_registry(reference, RegistryLogin(), reach) as repository:
            with pytest.raises(RegistryError) as caught:
                await repository.resolve()
        assert caught.value.message.startswith(f"{host} cannot be reached: ")
        assert caught.value.message.isprintable()
        nursery.cancel_scope.cancel()
