"""Behind nginx as docs/examples/nginx.conf configures it: TLS ends there, for agent and client."""

from __future__ import annotations

import contextlib
import hashlib
import os
import sqlite3
import ssl
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kit.deployments import behind_nginx
from tests.kit.nginx import Nginx
from tests.kit.site import Site

SIZE = 30_000_000
Behind = tuple[Site, Nginx]


@pytest.fixture(scope="module")
def behind(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Behind]:
    with behind_nginx(tmp_path_factory.mktemp("nginx")) as (site, server):
        site.kled("create", "dev", "--template", "process")
        yield site, server


def statuses(server: Nginx, path: str) -> set[str]:
    """How nginx's requests for `path` were answered."""
    lines = [line for line in server.requests() if f" {path}" in line]
    return {line.partition('" ')[2].partition(" ")[0] for line in lines}


def test_every_program_goes_through_it(behind: Behind) -> None:
    site, server = behind
    assert site.kled("exec", "dev", "echo", "in", "side").stdout == "in side\n"
    done = site.ssh("dev.kled", "cat; exit 3", input="through ssh", check=False)
    assert (done.returncode, done.stdout) == (3, "through ssh")
    assert site.ask("ping", "dev", "-c", "1")["rounds"]
    # Streams are upgraded as they ask to be, with no fallback to WebSockets.
    assert statuses(server, "/api/v1/workspaces/dev/stream?") == {"101"}
    assert statuses(server, "/api/v1/agent/stream") == {"101"}
    assert statuses(server, "/api/v1/agent/enroll") == {"200"}


def test_a_transfer_arrives_whole_and_is_ended_by_a_half_close(
    behind: Behind, tmp_path: Path
) -> None:
    site, _ = behind
    data = os.urandom(SIZE)
    (tmp_path / "data").write_bytes(data)
    digest = hashlib.sha256(data).hexdigest()
    with (tmp_path / "data").open("rb") as file:
        done = site.ssh("dev.kled", "sha256sum", stdin=file)
    assert done.stdout.split()[0] == digest
    there = site.root / "there"
    site.kled("cp", tmp_path / "data", f"dev:{there}")
    site.kled("cp", f"dev:{there}", tmp_path / "back")
    assert hashlib.sha256((tmp_path / "back").read_bytes()).hexdigest() == digest


def test_the_doctor_finds_nothing_wrong(behind: Behind) -> None:
    site, _ = behind
    done = site.kled("doctor", "dev")
    assert done.stdout.endswith("\neverything works\n")
    assert " fail " not in done.stdout


def test_the_doctor_says_what_a_forgotten_line_takes_away(tmp_path: Path) -> None:
    forgotten = {"proxy_set_header Upgrade $http_upgrade;": ""}
    with behind_nginx(tmp_path, replace=forgotten) as (site, _):
        done = site.kled("doctor", check=False)
    assert done.returncode == 1
    assert "does not work: streams: both are blocked" in done.stdout
    assert "a proxy removes the Upgrade header" in done.stdout


def metrics_status(site: Site, server: Nginx) -> int:
    context = ssl.create_default_context(cafile=site.env["SSL_CERT_FILE"])
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(f"https://localhost:{server.port}/metrics", context=context)
    refused.value.close()
    return refused.value.code


def test_metrics_stay_inside(behind: Behind) -> None:
    assert metrics_status(*behind) == 404


def addresses_of_clients(site: Site) -> dict[str, set[str]]:
    """Where the coordinator believes that its clients are, by what says so."""
    queries = {
        "login": "SELECT detail FROM audit WHERE action = 'auth.login'",
        "session": "SELECT client_address FROM sessions",
        "agent": "SELECT address FROM agents WHERE address IS NOT NULL",
    }
    with contextlib.closing(sqlite3.connect(site.root / "data" / "coord.sqlite3")) as database:
        return {
            what: {str(row[0]).rpartition(" ")[2] for row in database.execute(query)}
            for what, query in queries.items()
        }


@pytest.mark.parametrize(("trusted", "known"), [("127.0.0.5", "127.0.0.1"), ("", "127.0.0.5")])
def test_a_trusted_proxy_s_clients_are_known_by_their_address(
    tmp_path: Path, trusted: str, known: str
) -> None:
    settings = {"KLED_COORD_TRUSTED_PROXIES": trusted}
    forgotten = {"location = /metrics {": "location = /not-metrics {"}
    # An address of nginx's own, so that it is told from its clients on the same machine.
    deployment = behind_nginx(
        tmp_path, more="proxy_bind 127.0.0.5;", settings=settings, replace=forgotten
    )
    with deployment as (site, server):
        site.kled("create", "dev", "--template", "process")
        site.kled("exec", "dev", "true")
        found = addresses_of_clients(site)
        assert found == {"login": {known}, "session": {known}, "agent": {known}}
        # Both are loopback addresses: what came through a proxy is elsewhere all the same.
        assert metrics_status(site, server) == 401
