"""What stands between a site's programs and its coordinator: one path for agent and client."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path

from tests.kit.authority import Certificates, issue
from tests.kit.nginx import Nginx, nginx
from tests.kit.proxy import Proxy, connect_proxy, only_websockets
from tests.kit.site import PROCESS_TEMPLATE, Site, open_site
from tests.kit.sockets import free_port

# A name that only the forward proxy knows, and who may use that proxy.
NAME = "coordinator.kled.test"
CREDENTIALS = "somebody:pass%40word"


def template_with(directory: Path, environment: Mapping[str, str]) -> Path:
    """The shipped template, whose agent gets more environment."""
    main = (PROCESS_TEMPLATE / "main.tf").read_text()
    lines = "".join(f'    {name} = "{value}"\n' for name, value in environment.items())
    mark = "  env = {\n"
    assert mark in main
    directory.mkdir()
    (directory / "main.tf").write_text(main.replace(mark, mark + lines))
    return directory


@contextlib.contextmanager
def over_tls(directory: Path) -> Iterator[tuple[Site, Certificates]]:
    """TLS ends at the coordinator itself, for agent and client."""
    certificates = issue(directory)
    trust = {"SSL_CERT_FILE": str(certificates.authority)}
    with open_site(
        settings={
            "KLED_COORD_TLS_CERT_FILE": str(certificates.chain),
            "KLED_COORD_TLS_KEY_FILE": str(certificates.key),
        },
        environment=trust,
        access_url="https://localhost:{port}",
        template=template_with(directory / "template-tls", trust),
    ) as site:
        yield site, certificates


@contextlib.contextmanager
def behind_nginx(
    directory: Path,
    *,
    more: str = "",
    replace: Mapping[str, str] | None = None,
    settings: Mapping[str, str] | None = None,
) -> Iterator[tuple[Site, Nginx]]:
    """TLS ends at nginx, configured as documented; see `tests.kit.nginx` for the options.

    `settings` are more of the coordinator's.
    """
    certificates = issue(directory)
    trust = {"SSL_CERT_FILE": str(certificates.authority)}
    port, front = free_port(), free_port()
    with (
        nginx(
            directory / "nginx",
            port=front,
            target=port,
            certificates=certificates,
            more=more,
            replace=replace,
        ) as server,
        open_site(
            settings={
                "KLED_COORD_PORT": str(port),
                "KLED_COORD_HOST": "127.0.0.1",
                **(settings or {}),
            },
            environment=trust,
            access_url=f"https://localhost:{front}",
            template=template_with(directory / "template-nginx", trust),
        ) as site,
    ):
        yield site, server


@contextlib.contextmanager
def behind_websockets_only(*, idle_s: float | None = None) -> Iterator[tuple[Site, Proxy]]:
    """A reverse proxy that refuses every upgrade but WebSockets."""
    port, front = free_port(), free_port()
    with (
        only_websockets(port, port=front, idle_s=idle_s) as proxy,
        open_site(
            settings={"KLED_COORD_PORT": str(port)}, access_url=f"http://127.0.0.1:{front}"
        ) as site,
    ):
        yield site, proxy


@contextlib.contextmanager
def through_forward_proxy(
    directory: Path, *, idle_s: float | None = None
) -> Iterator[tuple[Site, Proxy]]:
    """A company's proxy with a password, behind which alone the coordinator's name is known."""
    port = free_port()
    user, _, password = CREDENTIALS.partition(":")
    plain = f"{user}:{password.replace('%40', '@')}"
    with connect_proxy(port, idle_s=idle_s, credentials=plain) as proxy:
        address = {"HTTP_PROXY": f"http://{CREDENTIALS}@127.0.0.1:{proxy.port}"}
        with open_site(
            settings={"KLED_COORD_PORT": str(port)},
            environment=address,
            access_url=f"http://{NAME}:{port}",
            template=template_with(directory / "template-proxy", address),
        ) as site:
            yield site, proxy
