"""URLs of coordinators: one grammar for every program."""

from __future__ import annotations

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kled_wire.errors import ConfigError
from kled_wire.transport.address import Address, parse_url


@pytest.mark.parametrize(
    ("url", "wanted", "authority"),
    [
        ("http://h", Address(False, "h", 80, ""), "h"),
        ("http://h:", Address(False, "h", 80, ""), "h"),
        ("HTTPS://H.example/", Address(True, "h.example", 443, ""), "h.example"),
        ("https://h:8443/kled/", Address(True, "h", 8443, "/kled"), "h:8443"),
        ("http://h:080", Address(False, "h", 80, ""), "h"),
        ("http://a_b.", Address(False, "a_b.", 80, ""), "a_b."),
        ("http://[::1]:80/a/b", Address(False, "::1", 80, "/a/b"), "[::1]"),
        ("http://[fe80::1%eth0]:81", Address(False, "fe80::1%eth0", 81, ""), "[fe80::1%eth0]:81"),
        ("https://b\u00fccher.example", Address(True, "xn--bcher-kva.example", 443, ""),
         "xn--bcher-kva.example"),
    ],
)  # fmt: skip
def test_a_url_is_read(url: str, wanted: Address, authority: str) -> None:
    assert parse_url(url) == wanted
    assert wanted.authority == authority
    assert parse_url(wanted.url) == wanted


@pytest.mark.parametrize(
    "url",
    ["", "h", "h:80", "//h", "ftp://h", "http://", "http://:80", "http://u@h",
     "http://h:0", "http://h:x", "http://h:70000", "http://h:+80", "http://h:8_0",
     "http://h:\u0663", "http://h:" + "0" * 5000 + "80",
     "http://h?x=1", "http://h/a?x=1", "http://h#f", "http://h/a#f",
     "http://h/a b", "http://h/\u00fc", "http://h/\x7f", "http://h\t", "http:// h", "http://h ",
     "http://a..b", "http://.a", "http://" + "a" * 64, "http://" + "a" * 64 + ".b",
     "http://h\\x", "http://h|x", "http://h%20x", "http://*",
     "http://[::1", "http://[::1]x", "http://[zz]", "http://[]", "http://[1.2.3.4]",
     "http://[::1%e\u00e4]", "http://::1"],
)  # fmt: skip
def test_what_is_no_coordinators_url_is_a_config_error(url: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_url(url)
    assert caught.value.code == "url_invalid"


@pytest.mark.parametrize("url", ["http://u:s3cret@h", "ftp://u:s3cret@h", "http://u:s3cret/@h"])
def test_a_password_in_a_url_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(ConfigError, match="must not have a user name") as caught:
        parse_url(url)
    assert "s3cret" not in caught.value.line()


@given(st.text(max_size=40), st.sampled_from(["", "http://", "https://h", "http://h:1/"]))
def test_any_text_is_a_url_or_a_config_error(text: str, start: str) -> None:
    try:
        address = parse_url(start + text)
    except ConfigError:
        return
    address.authority.encode("ascii")
    assert parse_url(address.url) == address


@given(
    st.from_regex(r"[a-z][a-z0-9-]{0,9}(\.[a-z][a-z0-9-]{0,9}){0,2}", fullmatch=True),
    st.none() | st.integers(1, 65535),
    st.sampled_from(["", "/", "/kled", "/a/b/"]),
)
def test_another_library_goes_to_the_same_place(host: str, port: int | None, path: str) -> None:
    address = parse_url(f"https://{host}{'' if port is None else f':{port}'}{path}")
    theirs = httpx.URL(address.url)
    assert (theirs.host, theirs.port or 443) == (address.host, address.port)
    assert theirs.path.rstrip("/") == address.base
