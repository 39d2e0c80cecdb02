"""Bodies: little and briefly from strangers, more from who has said who asks."""

from __future__ import annotations

import base64
from typing import Any

import pytest
import trio

from kled_coord.api.receiving import BodyTooLargeError, body_seconds, limited
from kled_wire.errors import UnauthenticatedError, UnavailableError
from kled_wire.limits import ANONYMOUS_BODY_MAX_BYTES, API_BODY_MAX_BYTES


def piece(size: int, *, more: bool = True) -> dict[str, Any]:
    return {"type": "http.request", "body": bytes(size), "more_body": more}


class Asked:
    """Who is asked for at some point; `error` is what comes of it."""

    def __init__(self, error: Exception | None = None) -> None:
        self.times = 0
        self.error = error

    async def __call__(self) -> None:
        await trio.lowlevel.checkpoint()
        self.times += 1
        if self.error is not None:
            raise self.error


async def taken(asked: Asked, limit: int, *pieces: dict[str, Any], every_s: float = 0) -> int:
    """How much is taken of a body that comes in pieces, one `every_s`."""
    left = list(pieces)

    async def receive():
        await trio.sleep(every_s)
        return left.pop(0)

    receive_limited = limited(receive, limit, asked)
    total = 0
    while True:
        message = await receive_limited()
        total += len(message["body"])
        if not message["more_body"]:
            return total


async def test_who_sends_much_is_asked_for_once(autojump_clock) -> None:
    asked = Asked()
    small = piece(ANONYMOUS_BODY_MAX_BYTES, more=False)
    assert await taken(asked, 1 << 20, small) == ANONYMOUS_BODY_MAX_BYTES
    assert asked.times == 0
    half = piece(ANONYMOUS_BODY_MAX_BYTES // 2 + 1)
    await taken(asked, 1 << 20, half, half, half, piece(0, more=False))
    assert asked.times == 1
    with pytest.raises(UnauthenticatedError):
        await taken(Asked(UnauthenticatedError("x", "y")), 1 << 20, half, half)
    with pytest.raises(BodyTooLargeError):
        await taken(asked, 2 * len(half["body"]) - 1, half, half)


async def test_a_stranger_has_seconds_and_others_as_long_as_it_takes(autojump_clock) -> None:
    dribble = [piece(1)] * 100
    with pytest.raises(UnavailableError) as caught:
        await taken(Asked(), 1 << 20, *dribble, every_s=1)
    assert caught.value.code == "body_timeout"
    assert trio.current_time() < body_seconds(ANONYMOUS_BODY_MAX_BYTES) + 1
    first = piece(ANONYMOUS_BODY_MAX_BYTES + 1)
    slow = [first, *[piece(1)] * 20, piece(0, more=False)]
    assert await taken(Asked(), 1 << 20, *slow, every_s=1) == ANONYMOUS_BODY_MAX_BYTES + 21
    with pytest.raises(UnavailableError):
        await taken(Asked(), 1 << 20, first, *dribble, every_s=1)


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize(
    ("path", "authorization", "expected"),
    [
        ("/api/v1/workspaces", None, b"token_missing"),
        ("/api/v1/workspaces", "Bearer kled_aaaa", b"token_unknown"),
        ("/api/v1/agent/enroll", "Bearer kled_agent_aaaa", b"token_unknown"),
        ("/api/v1/templates/t/versions", None, b"token_missing"),
        ("/api/v1/tfstate/ws_x", None, b"build_secret_missing"),
        ("/api/v1/tfstate/ws_x", "Basic " + base64.b64encode(b"a:b").decode(),
         b"build_secret_invalid"),
        ("/api/v1/auth/login", None, b"body_too_large"),
        ("/api/v1/auth/login", "Bearer kled_aaaa", b"body_too_large"),
    ],
)  # fmt: skip
async def test_a_stranger_s_large_body_is_not_waited_for(
    api, path, authorization, expected, chunked
) -> None:
    said = f"Authorization: {authorization}\r\n" if authorization else ""
    size = ANONYMOUS_BODY_MAX_BYTES + 1
    framing = "Transfer-Encoding: chunked" if chunked else "Content-Length: 500000"
    head = f"POST {path} HTTP/1.1\r\nHost: h\r\n{said}{framing}\r\n\r\n".encode()
    async with await trio.open_tcp_stream("127.0.0.1", api.port) as stream:
        await stream.send_all(head + (b"%x\r\n" % 500_000 + b" " * size if chunked else b""))
        answer = b""
        with trio.fail_after(20):
            while expected not in answer:
                data = await stream.receive_some()
                assert data, answer
                answer += data


async def test_who_has_a_token_may_send_as_much_as_before(api) -> None:
    me = await api.login("alice")
    body = b'{"name": "dev", "template": "' + b"x" * (API_BODY_MAX_BYTES - 100) + b'"}'
    answer = await api.client.post("/api/v1/workspaces", content=body, headers=me)
    assert answer.json()["error"]["code"] == "input_invalid"
