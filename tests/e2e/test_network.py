"""The whole chain over TLS, through a forward proxy, and behind one that knows only WebSockets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import trustme

from tests.kit.proxy import Proxy, connect_proxy, only_websockets
from tests.kit.site import PROCESS_TEMPLATE, Site, free_port, open_site

# A name that only the proxy knows.
NAME = "coordinator.kled.test"
BLOB = 20_000_000


def template_with(directory: Path, environment: Mapping[str, str]) -> Path:
    """The shipped template, whose agent gets more environment."""
    main = (PROCESS_TEMPLATE / "main.tf").read_text()
    lines = "".join(f'    {name} = "{value}"\n' for name, value in environment.items())
    mark = "  env = {\n"
    assert mark in main
    directory.mkdir()
    (directory / "main.tf").write_text(main.replace(mark, mark + lines))
    return directory


def exercise(site: Site) -> None:
    """What must work, however the bytes travel."""
    site.kled("create", "dev", "--template", "process")
    assert site.kled("exec", "dev", "echo", "in", "side").stdout == "in side\n"
    done = site.ssh("dev.kled", "cat; exit 3", input="through ssh", check=False)
    assert (done.returncode, done.stdout) == (3, "through ssh")
    # Larger than any buffer on the way, both ways, ended by a half-close.
    text = "0123456789abcdef" * (BLOB // 16)
    assert site.ssh("dev.kled", "wc -c", input=text).stdout.strip() == str(BLOB)
    assert len(site.ssh("dev.kled", f"head -c {BLOB} /dev/zero").stdout) == BLOB
    assert site.ask("ping", "dev", "-c", "1")["rounds"]
    site.kled("stop", "dev")
    site.kled("start", "dev")
    assert site.ssh("dev.kled", "echo again").stdout == "again\n"


@pytest.fixture
def certificates(tmp_path: Path) -> dict[str, str]:
    """Settings for a coordinator with a private authority's certificate; CA is the authority's."""
    authority = trustme.CA()
    issued = authority.issue_cert("localhost", "127.0.0.1")
    for name, blob in (
        ("ca", authority.cert_pem),
        ("key", issued.private_key_pem),
    ):
        blob.write_to_path(tmp_path / f"{name}.pem")
    for blob in issued.cert_chain_pems:
        blob.write_to_path(tmp_path / "cert.pem", append=True)
    return {
        "CA": str(tmp_path / "ca.pem"),
        "KLED_COORD_TLS_CERT_FILE": str(tmp_path / "cert.pem"),
        "KLED_COORD_TLS_KEY_FILE": str(tmp_path / "key.pem"),
    }


def test_tls_from_the_laptop_to_the_agent(tmp_path: Path, certificates: dict[str, str]) -> None:
    authority = certificates.pop("CA")
    trust = {"SSL_CERT_FILE": authority}
    template = template_with(tmp_path / "template", trust)
    with open_site(
        settings=certificates,
        environment=trust,
        access_url="https://localhost:{port}",
        template=template,
    ) as site:
        exercise(site)
        untrusting = {"SSL_CERT_FILE": "/etc/ssl/certs/ca-certificates.crt"}
        done = site.kled("list", env=untrusting, check=False)
        assert done.returncode == 7, done.stderr
        assert "certificate" in done.stderr
        done = site.ssh("dev.kled", "true", env=untrusting, check=False)
        assert done.returncode == 255
        assert "not trusted" in done.stderr
        # Instead of the environment, whom to trust may be named for Kled alone.
        site.kled("list", env={**untrusting, "KLED_CA_FILE": authority})


@pytest.fixture
def forward_proxy() -> Iterator[tuple[Proxy, int]]:
    port = free_port()
    with connect_proxy(port) as proxy:
        yield proxy, port


def test_everything_goes_through_a_forward_proxy(
    tmp_path: Path, forward_proxy: tuple[Proxy, int]
) -> None:
    proxy, port = forward_proxy
    address = {"HTTP_PROXY": f"http://127.0.0.1:{proxy.port}"}
    template = template_with(tmp_path / "template", address)
    with open_site(
        settings={"KLED_COORD_PORT": str(port)},
        environment=address,
        access_url=f"http://{NAME}:{port}",
        template=template,
    ) as site:
        exercise(site)
    connects = [line for line in proxy.seen if line.startswith(f"CONNECT {NAME}:{port} ")]
    # The agent's control link and dial-backs, and the client's streams.
    assert len(connects) >= 6, proxy.seen
    assert any(line.startswith(f"GET http://{NAME}:{port}/api/v1/") for line in proxy.seen)


def test_streams_fall_back_to_websockets(tmp_path: Path) -> None:
    port, front = free_port(), free_port()
    with (
        only_websockets(port, port=front) as proxy,
        open_site(
            settings={"KLED_COORD_PORT": str(port)},
            access_url=f"http://127.0.0.1:{front}",
        ) as site,
    ):
        exercise(site)
        refused = {line.split(" ")[1].split("?")[0].split("/")[-1] for line in proxy.refused}
        assert refused == {"stream"}
        # Both ends tried their own way first, and then the other.
        assert [line for line in proxy.refused if "/agent/stream" in line]
        assert [line for line in proxy.refused if "/workspaces/dev/stream" in line]
