"""Places, escapes, arguments, URLs: what people type."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kled_client.account.endpoint import normalise_url, proxy_for
from kled_client.cli.parameters import parse_parameters
from kled_client.cli.times import parse_lifetime
from kled_client.copy.plan import plan_copy
from kled_client.stream.command import Request, parse_arguments, stream_path
from kled_client.sync.place import parse_place
from kled_client.terminal.escapes import Escape, EscapeFilter
from kled_wire.errors import ConfigError, InputError, KledError
from kled_wire.transport.address import Address


def error_code(parse: Callable[[], object]) -> str | None:
    """What `parse` refuses with; anything that is not a KledError fails the test."""
    try:
        parse()
    except KledError as exc:
        return exc.code
    return None


def test_places() -> None:
    assert parse_place("./a:b").workspace is None
    assert parse_place("/a:b").workspace is None
    assert parse_place("C D:x").workspace is None
    place = parse_place("alice/dev:x:y")
    assert (str(place.workspace), place.path) == ("dev.alice", "x:y")
    assert parse_place("dev:").path == "."


@pytest.mark.parametrize(
    "words", [("a",), ("a", "b"), ("dev:a", "dev:b"), ("dev:a", "b", "c"), ("x", "d.e.f:g")]
)
def test_copies_that_make_no_sense(words: tuple[str, ...]) -> None:
    with pytest.raises(InputError):
        plan_copy(words)


def typed(data: bytes, cuts: list[int], *known: Escape) -> tuple[bytes, Escape | None]:
    escapes = EscapeFilter(known or (Escape.LEAVE,))
    out = b""
    edges = sorted({0, len(data), *(c for c in cuts if c < len(data))})
    for start, end in itertools.pairwise(edges):
        piece, escape, _ = escapes.feed(data[start:end])
        out += piece
        if escape is not None:
            return out, escape
    return out, None


@given(
    st.lists(st.sampled_from([b"~", b".", b"\r", b"\n", b"a", b"~.", b"~~"])).map(b"".join),
    st.lists(st.integers(0, 40)),
)
def test_escapes_do_not_depend_on_how_the_bytes_are_cut(data: bytes, cuts: list[int]) -> None:
    assert typed(data, cuts) == typed(data, [])


def test_escapes() -> None:
    assert typed(b"~.", []) == (b"", Escape.LEAVE)
    assert typed(b"ls\r~.x", []) == (b"ls\r", Escape.LEAVE)
    assert typed(b"a~.", []) == (b"a~.", None)
    assert typed(b"~~.", []) == (b"~.", None)
    assert typed(b"~x", []) == (b"~x", None)


def test_escapes_of_a_named_session() -> None:
    assert typed(b"~d", []) == (b"~d", None)
    assert typed(b"ls\r~dx", [], *Escape) == (b"ls\r", Escape.DETACH)
    assert typed(b"~?", [2], *Escape) == (b"", Escape.HELP)
    escapes = EscapeFilter(tuple(Escape))
    assert escapes.feed(b"~?ls\r") == (b"", Escape.HELP, b"ls\r")
    assert escapes.feed(b"~d") == (b"", Escape.DETACH, b"")


def test_stream_arguments() -> None:
    assert parse_arguments(["--fdpass", "dev.kled"]) == Request(workspace="dev.kled", fdpass=True)
    parsed = parse_arguments(["dev", "--kind", "tcp", "--port=80", "--profile=work"])
    assert (parsed.kind, parsed.port, parsed.profile) == ("tcp", 80, "work")
    bad_ports = [["a", "--port", port] for port in ("0", "65536", "x", "-1", "٣", "000080")]
    for words in ([], ["--kind"], ["a", "b"], ["--what", "a"], ["a", "--kind", "a/b"], *bad_ports):
        with pytest.raises(InputError):
            parse_arguments(words)


def test_stream_paths() -> None:
    assert stream_path("dev.kled", "ssh") == "/api/v1/workspaces/dev/stream?kind=ssh"
    assert stream_path("alice/dev", "ssh") == "/api/v1/workspaces/dev.alice/stream?kind=ssh"
    assert stream_path("dev", "tcp", 80) == "/api/v1/workspaces/dev/stream?kind=tcp&port=80"
    for kind, port in (("tcp", 0), ("ssh", 80)):
        with pytest.raises(InputError):
            stream_path("dev", kind, port)
    for text in ("", "../x", "a b", "a\r\nX: y", "a?b"):
        with pytest.raises(InputError):
            stream_path(text, "ssh")


def test_urls() -> None:
    assert normalise_url("kled.example.com/") == "https://kled.example.com"
    assert normalise_url("localhost:7080") == "http://localhost:7080"
    assert normalise_url("127.0.0.1:7080") == "http://127.0.0.1:7080"


def test_proxies() -> None:
    far = Address(tls=True, host="kled.example.com", port=443)
    assert proxy_for(far, {}) is None
    assert proxy_for(far, {"HTTP_PROXY": "http://p:1"}) is None
    found = proxy_for(far, {"https_proxy": "http://u:p@p:1"})
    assert found is not None
    assert (found.host, found.port, found.authorization) == ("p", 1, "Basic dTpw")
    assert proxy_for(far, {"HTTPS_PROXY": "http://p:1", "NO_PROXY": ".example.com"}) is None
    with pytest.raises(ConfigError):
        proxy_for(far, {"HTTPS_PROXY": "socks5://p:1"})


def test_parameters_and_lifetimes() -> None:
    assert parse_parameters(("a=b=c", "d=", "e", "f=@@g")) == {
        "a": "b=c",
        "d": "",
        "e": None,
        "f": "@g",
    }
    assert parse_lifetime("12h") == 43200
    for text in ("", "12", "h", "-1h", "1x", "٣h"):
        with pytest.raises(InputError):
            parse_lifetime(text)
    for word in ("", "=b", "a=@/nowhere/at/all", "a=@/"):
        with pytest.raises(InputError):
            parse_parameters((word,))
