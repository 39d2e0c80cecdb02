"""The whole chain over TLS, through a forward proxy, and behind one that knows only WebSockets."""

from __future__ import annotations

import json
from pathlib import Path

from tests.kit.deployments import NAME, behind_websockets_only, over_tls, through_forward_proxy
from tests.kit.site import Site

BLOB = 20_000_000


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


def diagnose(site: Site, *words: str) -> tuple[int, dict[str, dict[str, str]], str]:
    """Exit code, checks by name and summary of `kled doctor`."""
    done = site.kled("-o", "json", "doctor", *words, check=False)
    answer = json.loads(done.stdout)
    return done.returncode, {check["name"]: check for check in answer["checks"]}, answer["summary"]


def test_tls_from_the_laptop_to_the_agent(tmp_path: Path) -> None:
    with over_tls(tmp_path) as (site, certificates):
        exercise(site)
        untrusting = {"SSL_CERT_FILE": "/etc/ssl/certs/ca-certificates.crt"}
        done = site.kled("list", env=untrusting, check=False)
        assert done.returncode == 7, done.stderr
        assert "certificate" in done.stderr
        done = site.ssh("dev.kled", "true", env=untrusting, check=False)
        assert done.returncode == 255
        assert "not trusted" in done.stderr
        # Instead of the environment, whom to trust may be named for Kled alone.
        site.kled("list", env={**untrusting, "KLED_CA_FILE": str(certificates.authority)})


def test_everything_goes_through_a_forward_proxy_with_a_password(tmp_path: Path) -> None:
    with through_forward_proxy(tmp_path) as (site, proxy):
        exercise(site)
        connects = [line for line in proxy.seen if line.startswith(f"CONNECT {NAME}:{site.port} ")]
        # The agent's control link and dial-backs, and the client's streams.
        assert len(connects) >= 6, proxy.seen
        assert any(line.startswith(f"GET http://{NAME}:{site.port}/api/v1/") for line in proxy.seen)
        assert not proxy.refused
        code, checks, _ = diagnose(site, "dev")
        assert (code, checks["session"]["outcome"]) == (0, "ok")
        assert checks["proxy"]["found"].endswith(f":{proxy.port}, with user and password")
        done = site.kled("list", env={"HTTP_PROXY": f"http://127.0.0.1:{proxy.port}"}, check=False)
        assert done.returncode != 0
        done = site.ssh(
            "dev.kled", "true", env={"HTTP_PROXY": f"http://127.0.0.1:{proxy.port}"}, check=False
        )
        assert "user:password" in done.stderr
        assert len(proxy.refused) == 2


def test_streams_fall_back_to_websockets() -> None:
    with behind_websockets_only() as (site, proxy):
        exercise(site)
        refused = {line.split(" ")[1].split("?")[0].split("/")[-1] for line in proxy.refused}
        assert refused == {"stream"}
        # Both ends tried their own way first, and then the other.
        assert [line for line in proxy.refused if "/agent/stream" in line]
        assert [line for line in proxy.refused if "/workspaces/dev/stream" in line]
        code, checks, summary = diagnose(site, "dev")
        # All works, and what does not pass is said with what is used instead.
        assert (code, checks["session"]["outcome"]) == (0, "ok")
        assert checks["kled-stream"]["outcome"] == "warn"
        assert "Upgrade: kled-stream is blocked" in summary
        assert "WebSockets are used" in summary
