"""Which proxy an address is reached through."""

from __future__ import annotations

import base64
import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kled_wire.errors import ConfigError
from kled_wire.http.proxy import Proxy, encode_connect, find_proxy

P = {"HTTPS_PROXY": "http://proxy:3128", "HTTP_PROXY": "http://plain:80"}


def test_the_scheme_chooses_the_variable() -> None:
    assert find_proxy("https", "h.example", P) == Proxy(host="proxy", port=3128)
    assert find_proxy("http", "h.example", P) == Proxy(host="plain", port=80)
    assert find_proxy("https", "h.example", {}) is None


def test_the_lower_case_variable_wins() -> None:
    assert find_proxy("https", "h", {**P, "https_proxy": "low:1"}) == Proxy(host="low", port=1)


def test_a_user_and_password_become_basic_authorization() -> None:
    found = find_proxy("https", "h", {"HTTPS_PROXY": "http://al%40ice:p%3Aw@proxy:1"})
    assert found is not None
    assert found.authorization == "Basic " + base64.b64encode(b"al@ice:p:w").decode()


@pytest.mark.parametrize(
    ("rules", "host", "exempt"),
    [
        ("example.com", "example.com", True),
        ("example.com", "a.example.com", True),
        ("example.com", "badexample.com", False),
        (".example.com", "example.com", True),
        (".example.com", "A.EXAMPLE.com", True),
        (" a , b.c ", "b.c", True),
        ("*", "anything", True),
        ("", "example.com", False),
        ("", "localhost", True),
        ("", "127.0.0.1", True),
        ("", "::1", True),
        ("10.0.0.0/8", "10.1.2.3", True),
        ("10.0.0.0/8", "11.1.2.3", False),
        ("10.1.2.3", "10.1.2.3", True),
        ("fd00::/8", "fd00::1", True),
        ("10.0.0.0/8", "fd00::1", False),
        ("nonsense/99", "10.1.2.3", False),
    ],
)
def test_no_proxy_exempts_hosts(rules: str, host: str, exempt: bool) -> None:
    assert (find_proxy("https", host, {**P, "NO_PROXY": rules}) is None) == exempt


@pytest.mark.parametrize(
    "text",
    ["socks5://p:1", "https://p:1", "http://", "http://p:x", "http://p:99999", "http://[::1"],
)
def test_a_proxy_that_cannot_be_used_is_a_config_error(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        find_proxy("https", "h", {"HTTPS_PROXY": text})
    assert caught.value.code == "proxy_invalid"


@given(st.text(max_size=40), st.text(max_size=40), st.text(max_size=40))
def test_any_environment_gives_a_proxy_or_a_config_error(
    proxy: str, exempt: str, host: str
) -> None:
    with contextlib.suppress(ConfigError):
        find_proxy("https", host, {"https_proxy": proxy, "no_proxy": exempt})


def test_connect_names_its_target_twice_and_authorizes() -> None:
    plain = encode_connect("h", 443, Proxy(host="p", port=1))
    assert plain == b"CONNECT h:443 HTTP/1.1\r\nHost: h:443\r\n\r\n"
    six = encode_connect("::1", 443, Proxy(host="p", port=1, authorization="Basic eA=="))
    assert six == (
        b"CONNECT [::1]:443 HTTP/1.1\r\nHost: [::1]:443\r\nProxy-Authorization: Basic eA==\r\n\r\n"
    )
