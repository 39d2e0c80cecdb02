"""`kled doctor` against servers that are no coordinator: a finding each time, never a traceback."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import ssl
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trustme

from kled_client.doctor import probe
from tests.client.conftest import Kled
from tests.client.fake import TOKEN, Fake, problem
from tests.kit.thread_server import serving_in_threads

Behaviour = Callable[[socket.socket], None]
PORTAL = b"HTTP/1.1 302 Found\r\nLocation: http://wifi.example/\r\nContent-Length: 0\r\n\r\n"
PAGE = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 6\r\n\r\n<html>"


def serving(behave: Behaviour) -> contextlib.AbstractContextManager[int]:
    """A port where each connection gets this behaviour and is then closed."""
    return serving_in_threads(("127.0.0.1", 0), behave)


def say(answer: bytes, link: socket.socket) -> None:
    link.recv(65536)
    link.sendall(answer)


def stay_silent(link: socket.socket) -> None:
    while link.recv(65536):
        pass


def diagnose(kled: Kled, url: str, *words: str, **env: str) -> tuple[int, dict[str, Any]]:
    """Exit code and the answer; the checks by name."""
    done = kled(
        "-o", "json", "doctor", *words, env={"KLED_URL": url, "KLED_TOKEN": "kled_x", **env}
    )
    assert done.stderr == b"", done.stderr.decode()
    answer = json.loads(done.stdout)
    answer["checks"] = {check["name"]: check for check in answer["checks"]}
    return done.returncode, answer


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (PORTAL, "redirected to http://wifi.example/"),
        (PAGE, "200 and a web page"),
        (b"", "closed the connection"),
        (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", "does not speak HTTP"),
        (b"\x15\x03\x01\x00\x02\x02\x46", "the server speaks TLS"),
        (b"HT", "closed the connection in the middle"),
        (b"HTTP/1.1 200 OK\r\n", "in the middle of its answer"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "a chunk without a size"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{", "not a coordinator's answer"),
        (b"HTTP/1.1 503 No\r\nServer: squid\r\nContent-Length: 0\r\n\r\n", "squid answers 503"),
        (b"x" * 300_000, "the head is over 32 KiB"),
    ],
)
def test_what_is_no_coordinator(kled: Kled, said: bytes, words: str) -> None:
    with serving(partial(say, said)) as port:
        code, answer = diagnose(kled, f"http://127.0.0.1:{port}")
    assert code == 1
    assert words in answer["checks"]["coordinator"]["found"]
    assert answer["checks"]["streams"]["outcome"] == "skip"
    # What does not need it was checked all the same.
    assert answer["checks"]["open files"]["outcome"] != "skip"
    assert words in answer["summary"]


@pytest.mark.slow
def test_a_server_that_says_nothing_is_waited_for_only_so_long(kled: Kled) -> None:
    with serving(stay_silent) as port:
        code, answer = diagnose(kled, f"http://127.0.0.1:{port}", "dev")
    assert (code, answer["checks"]["coordinator"]["found"]) == (1, "no answer within 10 s")
    assert answer["checks"]["session"]["outcome"] == "skip"


def test_nobody_there_and_no_such_name(kled: Kled) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    code, answer = diagnose(kled, f"http://127.0.0.1:{port}")
    assert (code, answer["checks"]["IPv4"]["outcome"]) == (1, "fail")
    assert answer["checks"]["IPv4"]["found"] == f"127.0.0.1 port {port}: Connection refused"
    code, answer = diagnose(kled, "http://kled.invalid")
    assert (code, answer["checks"]["name"]["outcome"]) == (1, "fail")


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_a_broken_ipv6_is_said_and_ipv4_used(signed_in: Fake, tmp_path: Path, kled: Kled) -> None:
    # A name with both addresses, for this one program; nobody listens on the first.
    hosts = tmp_path / "hosts"
    hosts.write_text("::1 both.kled.test\n127.0.0.1 both.kled.test\n")
    port = signed_in.url.rpartition(":")[2]
    mount = f'mount --bind {hosts} /etc/hosts && exec "$@"'
    kled = partial(kled, before=["unshare", "--mount", "sh", "-c", mount, "-"])
    code, answer = diagnose(kled, f"http://both.kled.test:{port}", KLED_TOKEN=TOKEN)
    assert code == 0, answer
    assert answer["checks"]["IPv4"]["outcome"] == "ok"
    said = f"IPv6: {answer['checks']['IPv6']['found']}"
    assert said.startswith(f"IPv6: ::1 port {port}: ")
    assert said.endswith("; IPv4 is used instead")
    assert answer["summary"].startswith(f"works, but: {said}")


def test_tls_where_there_is_none(kled: Kled) -> None:
    with serving(partial(say, PAGE)) as port:
        code, answer = diagnose(kled, f"https://127.0.0.1:{port}")
    assert code == 1
    assert "the server does not speak TLS" in answer["checks"]["TLS"]["found"]


def test_the_issuer_of_a_certificate_that_is_not_trusted_is_named(
    kled: Kled, tmp_path: Path
) -> None:
    authority = trustme.CA(organization_name="Corp Interception", organization_unit_name="IT")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")

    def answer_page(link: socket.socket) -> None:
        with context.wrap_socket(link, server_side=True) as secured:
            say(PAGE, secured)

    with serving(answer_page) as port:
        url = f"https://127.0.0.1:{port}"
        code, answer = diagnose(kled, url)
        assert code == 1
        assert "issued by Corp Interception" in answer["checks"]["TLS"]["found"]
        assert "coordinator" not in answer["checks"]
        _, answer = diagnose(kled, url, KLED_CA_FILE=str(tmp_path / "ca.pem"))
        assert answer["checks"]["TLS"]["outcome"] == "ok"
        assert answer["checks"]["TLS"]["found"].endswith("(your CA file)")
        assert "web page" in answer["checks"]["coordinator"]["found"]


def test_a_coordinator_that_refuses_the_token(fake: Fake, kled: Kled) -> None:
    fake.routes["GET", "/api/v1/users/me"] = problem(401, "token_invalid", "the token is not valid")
    code, answer = diagnose(kled, fake.url)
    assert code == 1
    assert answer["checks"]["token"]["found"] == "the token is not valid (token_invalid)"
    assert answer["checks"]["coordinator"]["outcome"] == "ok"


def test_a_proxy_that_is_no_proxy_and_its_password(kled: Kled) -> None:
    with serving(partial(say, PAGE)) as port:
        proxy = f"http://me:topsecret@127.0.0.1:{port}"
        code, answer = diagnose(kled, "http://kled.example.com", HTTP_PROXY=proxy)
    assert "topsecret" not in json.dumps(answer)
    assert answer["checks"]["proxy"]["found"] == (
        f"the proxy 127.0.0.1:{port}, with user and password"
    )
    assert code == 1
    _, answer = diagnose(kled, "http://kled.example.com", HTTP_PROXY="socks5://me:topsecret@h")
    assert answer["checks"]["proxy"]["outcome"] == "fail"
    assert "topsecret" not in json.dumps(answer)


def test_not_logged_in(kled: Kled) -> None:
    done = kled("doctor")
    assert done.returncode == 1
    assert b"kled login URL" in done.stdout


def test_addresses_are_named_once() -> None:
    found = probe.lookup("127.0.0.1", 80)
    assert [(probe.name_of(family), address) for family, address in found] == [
        ("IPv4", "127.0.0.1")
    ]
