"""nginx as the documentation configures it."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.kit.authority import Certificates
from tests.kit.site import ROOT
from tests.kit.sockets import is_open
from tests.kit.waiting import wait_until

# The file people copy.
EXAMPLE = ROOT / "docs" / "examples" / "nginx.conf"
_END_S = 10.0
_MAIN = """
daemon off;
user root;
worker_processes {workers};
pid {root}/nginx.pid;
error_log {root}/error.log info;
events {{ worker_connections 4096; }}
http {{
    access_log {root}/access.log;
    client_body_temp_path {root}/body;
    proxy_temp_path {root}/proxy;
    fastcgi_temp_path {root}/fastcgi;
    uwsgi_temp_path {root}/uwsgi;
    scgi_temp_path {root}/scgi;
    {more}
    include {root}/site.conf;
}}
"""


@dataclass(frozen=True, kw_only=True)
class Nginx:
    """A running nginx; its files are in `root`."""

    root: Path
    port: int

    def requests(self) -> list[str]:
        """The lines of its access log. A request is there once it has ended."""
        return (self.root / "access.log").read_text().splitlines()

    def cuts(self) -> list[str]:
        """What it cut because nothing was said for its time-out."""
        lines = (self.root / "error.log").read_text().splitlines()
        return [line for line in lines if "timed out" in line]


def site_file(*, port: int, target: int, certificates: Certificates) -> str:
    """The documented file with this machine's ports and paths in it."""
    text = EXAMPLE.read_text()
    for written, here in (
        ("listen 443 ssl;", f"listen 127.0.0.1:{port} ssl;"),
        ("listen [::]:443 ssl;", ""),
        ("server_name kled.example.com;", "server_name localhost;"),
        ("/etc/letsencrypt/live/kled.example.com/fullchain.pem", str(certificates.chain)),
        ("/etc/letsencrypt/live/kled.example.com/privkey.pem", str(certificates.key)),
        ("http://127.0.0.1:7080;", f"http://127.0.0.1:{target};"),
    ):
        assert text.count(written) == 1, written
        text = text.replace(written, here)
    return text


@contextlib.contextmanager
def nginx(
    root: Path,
    *,
    port: int,
    target: int,
    certificates: Certificates,
    workers: int = 1,
    more: str = "",
    replace: Mapping[str, str] | None = None,
) -> Iterator[Nginx]:
    """nginx on `port` in front of 127.0.0.1:`target`.

    `more` is added to its http block, and `replace` changes the documented file.
    """
    program = shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/usr/bin")
    if program is None:
        pytest.skip("nginx is not installed")
    site = site_file(port=port, target=target, certificates=certificates)
    for old, new in (replace or {}).items():
        assert old in site
        site = site.replace(old, new)
    root.mkdir()
    (root / "site.conf").write_text(site)
    (root / "nginx.conf").write_text(_MAIN.format(root=root, workers=workers, more=more))
    with (root / "output").open("wb") as output:
        process = subprocess.Popen(
            [program, "-p", root, "-e", root / "error.log", "-c", root / "nginx.conf"],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    try:
        wait_until("nginx listens", lambda: _listens(process, root, port))
        yield Nginx(root=root, port=port)
    finally:
        process.terminate()
        process.wait(_END_S)


def _listens(process: subprocess.Popen[bytes], root: Path, port: int) -> bool:
    assert process.poll() is None, (root / "output").read_text()
    return is_open(("127.0.0.1", port))
