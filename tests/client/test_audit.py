"""`kled list` with a search, `kled audit` and `kled connections`: what is asked, what is shown."""

from __future__ import annotations

import json

import pytest

from tests.client.conftest import Kled, one_line
from tests.client.fake import Fake, problem

ROW = {
    "id": "aud_1",
    "at": "2026-01-01T00:00:00Z",
    "user_name": None,
    "action": "auth.login",
    "resource": "user bob\x1b[31m",
    "allowed": False,
    "detail": "wrong password",
}
CONNECTION = {
    "id": "ses_1",
    "workspace": "dev",
    "owner": "alice",
    "user_name": "alice",
    "kind": "ssh",
    "client_address": "192.0.2.1",
    "opened_at": "2026-01-01T00:00:00Z",
    "closed_at": "2026-01-01T01:02:03.9Z",
    "bytes_to_agent": 1000,
    "bytes_to_client": 2_000_000,
    "reason": "client_closed",
}


@pytest.mark.parametrize(
    ("words", "query"),
    [
        (["web", "status:running", "--sort", "-used"], "q=web+status%3Arunning&sort=-used"),
        (["--all", "owner:me"], "owner=%2A&q=owner%3Ame"),
        (["--owner", "bob"], "owner=bob"),
    ],
)
def test_list_asks_the_coordinator(
    signed_in: Fake, kled: Kled, words: list[str], query: str
) -> None:
    done = kled("list", *words)
    assert done.returncode == 0, done.stderr
    assert signed_in.requests[-1][1] == f"/api/v1/workspaces?{query}"
    assert (b"OWNER" in done.stdout) == ("owner" in query)


def test_a_search_that_finds_nothing_says_so(signed_in: Fake, kled: Kled) -> None:
    signed_in.routes["GET", "/api/v1/workspaces"] = (200, [])
    said = kled("list", "web").stderr.decode()
    assert said == "no workspace fits web; kled list shows all\n"
    assert json.loads(kled("list", "web", "-o", "json").stdout) == []


def test_the_audit_log_is_asked_for_with_filters(signed_in: Fake, kled: Kled) -> None:
    signed_in.routes["GET", "/api/v1/audit"] = (200, [ROW])
    words = ["--user", "bob", "--action", "auth.", "--refused", "--limit", "5"]
    done = kled("audit", *words, "--since", "2026-01-01T01:00:00+01:00", env={"TZ": "UTC"})
    assert done.returncode == 0, done.stderr
    asked = signed_in.requests[-1][1].partition("?")[2].split("&")
    assert sorted(asked) == [
        *("action=auth.", "allowed=false", "limit=5"),
        *("since=2026-01-01T00%3A00%3A00%2B00%3A00", "user=bob"),
    ]
    shown = done.stdout.decode().splitlines()[1]
    assert shown.split()[:4] == ["2026-01-01", "00:00:00", "-", "auth.login"]
    assert "refused" in shown
    assert "\x1b[31m" not in shown
    assert json.loads(kled("audit", "-o", "json").stdout) == [ROW]
    assert signed_in.requests[-1][1] == "/api/v1/audit?limit=100"


def test_connections_say_who_how_long_and_how_much(signed_in: Fake, kled: Kled) -> None:
    now = {**CONNECTION, "closed_at": None, "reason": None, "workspace": None}
    signed_in.routes["GET", "/api/v1/connections"] = (200, [CONNECTION, now])
    done = kled("connections", "--open", "--workspace", "dev")
    assert done.returncode == 0, done.stderr
    asked = signed_in.requests[-1][1].partition("?")[2].split("&")
    assert sorted(asked) == ["limit=100", "open=true", "workspace=dev"]
    _, ended, going_on = (line.split() for line in done.stdout.decode().splitlines())
    assert ended[2:] == [
        *("1:02:03", "alice", "alice/dev", "ssh", "192.0.2.1", "1.0", "kB", "2.0", "MB"),
        "client_closed",
    ]
    assert (going_on[4], going_on[-1]) == ("alice/-", "open")


@pytest.mark.parametrize("command", ["audit", "connections"])
def test_what_cannot_be_asked_is_refused_here(signed_in: Fake, kled: Kled, command: str) -> None:
    done = kled(command, "--since", "noon")
    assert done.returncode == 2
    assert "'noon' is no time" in one_line(done.stderr)
    signed_in.routes["GET", f"/api/v1/{command}"] = problem(403, "forbidden", "the role member")
    assert kled(command).returncode == 3
