"""Streams over TLS and in WebSockets do not depend on the coordinator's own process."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from tests.kit.authority import issue
from tests.kit.deployments import behind_websockets_only, over_tls
from tests.kit.processes import has_ended
from tests.kit.programs import say, send_through
from tests.kit.site import BIN, Site
from tests.kit.waiting import wait_until

SIZE = 30_000_000
DEPLOYMENTS = ("tls", "websockets")


@pytest.fixture(scope="module", params=DEPLOYMENTS)
def offloaded(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    """A site all of whose streams need unwrapping, with a workspace `dev`."""
    deployment = over_tls(tmp_path_factory.mktemp("tls"))
    with deployment if request.param == "tls" else behind_websockets_only() as (site, _):
        site.kled("create", "dev", "--template", "process")
        yield site


@contextmanager
def running_cat(site: Site) -> Iterator[subprocess.Popen[bytes]]:
    """`ssh dev.kled cat` over a resumable stream."""
    proxy = f"ProxyCommand={BIN}/kled stream --resume always %h"
    words = [*site.ssh_words(), "-o", proxy, "-o", "ProxyUseFdpass=no", "dev.kled", "cat"]
    with site.running(*words, stdin=subprocess.PIPE, bufsize=0) as cat:
        yield cat


def test_a_connection_outlives_a_coordinator_that_is_killed(offloaded: Site) -> None:
    with running_cat(offloaded) as cat:
        assert say(cat, b"before") == b"before\n"
        before = offloaded.offloads()
        assert before
        offloaded.stop_serving(signal.SIGKILL)
        # By the same connection: nobody is there who could take another one.
        assert say(cat, b"without") == b"without\n"
        offloaded.serve()
        assert say(cat, b"with another") == b"with another\n"
        assert cat.stdin is not None
        cat.stdin.close()
        assert cat.wait(20) == 0
    # Each serves what it has to the end, and no longer.
    for process in before:
        wait_until("it has ended", partial(has_ended, process.pid))
    offloaded.wait_connected("dev")


def test_bulk_data_survives_offload_processes_that_are_killed(offloaded: Site) -> None:
    killed: list[int] = []

    def kill(got: int) -> None:
        if got > SIZE // 3 and not killed:
            for process in offloaded.offloads():
                process.kill()
                killed.append(process.pid)

    with running_cat(offloaded) as cat:
        send_through(cat, os.urandom(SIZE), kill)
    assert killed
    offloaded.wait_connected("dev")


def test_a_renewed_certificate_needs_no_restart(tmp_path: Path) -> None:
    with over_tls(tmp_path) as (site, certificates):
        old = {name: getattr(certificates, name).read_bytes() for name in ("chain", "key")}
        (tmp_path / "other").mkdir()
        other = issue(tmp_path / "other")
        for name in old:
            getattr(certificates, name).write_bytes(getattr(other, name).read_bytes())
        # Only who trusts the new authority is served now.
        assert site.kled("list", check=False).returncode == 7
        site.kled("list", env={"SSL_CERT_FILE": str(other.authority)})
        for name, content in old.items():
            getattr(certificates, name).write_bytes(content)
        site.kled("list")
