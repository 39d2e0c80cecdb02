"""What the API's client says when the coordinator is not there, or not the one."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from urllib.parse import unquote

import httpx
import pytest
import trio
import trio.testing
import trustme
from hypothesis import given
from hypothesis import strategies as st

from kled_client.api.build_log import read_log
from kled_client.api.client import Api, open_api
from kled_client.api.requests import path_of
from kled_wire.errors import InputError, UnavailableError

# When nginx gives up on an answer.
PROXY_S = 60.0


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


@given(st.lists(st.text(min_size=1), min_size=1))
def test_a_word_stays_one_segment_of_a_path(words: list[str]) -> None:
    words = [word for word in words if word.encode("utf-8", "replace").decode() == word]
    if not words or any(word in {".", ".."} or "/" in word for word in words):
        return
    path = httpx.URL(f"http://host{path_of(*words)}").raw_path.decode()
    assert [unquote(segment) for segment in path.split("/")[1:]] == words


@pytest.mark.parametrize("word", ["../x", "..", ".", "", "a/b", "/"])
async def test_a_word_that_leads_elsewhere_is_refused_with_what_it_should_name(word: str) -> None:
    async with open_api("http://127.0.0.1:1", None) as api:
        for ask in (
            api.container_output("dev", word),
            api.template(word),
            api.user(word),
            api.agent_token("dev", word),
            api.evaluate(word, None, {}),
        ):
            with pytest.raises(InputError, match=r"cannot be a name among the [a-z]+s$") as caught:
                await ask
            assert caught.value.code == "name_invalid"


async def test_what_cannot_be_asked_is_told_without_a_request() -> None:
    async with open_api("http://127.0.0.1:1", None) as api:
        with pytest.raises(InputError, match="no such request"):
            await api.call("GET", "/a\nb")
        with pytest.raises(InputError, match="no such request"):
            await api.workspaces(search="x" * 70_000)


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


def away(words: str) -> httpx.Response:
    error = {"code": "agent_not_connected", "message": words, "hint": None}
    return httpx.Response(503, json={"error": error})


def behind_proxy(server: Callable[[httpx.Request], Awaitable[httpx.Response]]) -> Api:
    """The API of `server`, through something that gives up on a silent answer."""

    async def handle(request: httpx.Request) -> httpx.Response:
        with trio.move_on_after(PROXY_S):
            return await server(request)
        return httpx.Response(504, text="<html>Gateway Time-out</html>")

    client = httpx.AsyncClient(base_url="http://kled", transport=httpx.MockTransport(handle))
    return Api(client=client, url="http://kled")


async def test_a_long_wait_outlasts_a_proxys_patience(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async def server(request: httpx.Request) -> httpx.Response:
        wanted = float(request.url.params["timeout_s"])
        left = 100 - trio.current_time()
        await trio.sleep(min(left, wanted))
        return httpx.Response(200, json={"name": "dev"}) if left <= wanted else away("no agent yet")

    api = behind_proxy(server)
    assert await api.wait_for_agent("dev", 120) == {"name": "dev"}
    assert 100 <= trio.current_time() < 101
    with pytest.raises(UnavailableError, match="did not connect within 70 s"):
        await behind_proxy(lambda _: _slowly()).wait_for_agent("dev", 70)
    assert 170 <= trio.current_time() < 180


async def _slowly() -> httpx.Response:
    await trio.sleep(25)
    return away("no agent yet")


async def test_a_reason_not_to_wait_is_told_at_once(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async def server(_request: httpx.Request) -> httpx.Response:
        return away("the template makes no agent")

    with pytest.raises(UnavailableError, match="makes no agent"):
        await behind_proxy(server).wait_for_agent("dev", 120)
    assert trio.current_time() < 1


class Silent(httpx.AsyncByteStream):
    """The log of a build that says nothing until `ends_at`; something on the way cuts it before."""

    def __init__(self, ends_at: float, cut_after_s: float) -> None:
        self._left = ends_at - trio.current_time()
        self._cut_after_s = cut_after_s

    async def __aiter__(self) -> AsyncIterator[bytes]:
        await trio.sleep(min(self._left, self._cut_after_s))
        if self._left > self._cut_after_s:
            raise httpx.ReadError("cut")
        yield b'{"end": {"status": "succeeded", "error": null}}\n'


# httpx leaves its own generators to the collector when an answer is not read to its end.
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
async def test_a_silent_build_is_followed_through_every_cut(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async def server(_request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, stream=Silent(1800, PROXY_S))

    items: list[object] = []
    await read_log(behind_proxy(server), "bld_1", items.append)
    assert items == [{"end": {"status": "succeeded", "error": None}}]


async def test_a_log_that_is_cut_at_once_again_and_again_is_given_up(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async def server(_request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, stream=Silent(1800, 1))

    with pytest.raises(UnavailableError):
        await read_log(behind_proxy(server), "bld_1", lambda _item: None)
    assert trio.current_time() < 60
