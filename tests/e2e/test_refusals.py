"""What bad input gets: which status, which words, and nothing made."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.kit.site import BIN, PROCESS_TEMPLATE, Site, open_site
from tests.kit.waiting import wait_until


def call(site: Site, token: str, path: str = "/workspaces") -> tuple[int, Any]:
    answer = httpx.get(
        f"{site.url}/api/v1{path}", headers={"Authorization": f"Bearer {token}"}, trust_env=False
    )
    return answer.status_code, answer.json()


def make_token(site: Site, *words: str) -> dict[str, Any]:
    found: dict[str, Any] = site.ask("token", "create", *words)
    return found


@contextlib.contextmanager
def member(site: Site, name: str) -> Iterator[dict[str, str]]:
    """Another user, logged in with a profile of their own; the environment to call with."""
    made = site.ask("user", "create", name)
    env = {"KLED_CONFIG_DIR": str(site.root / name)}
    site.kled("login", site.url, "--code", "-", input=made["login_code"], env=env)
    yield env
    site.kled("user", "delete", name, "--yes", check=False)


def test_each_kind_of_bad_token_is_named(site: Site) -> None:
    status, body = call(site, "kled_wrong")
    assert (status, body["error"]["code"]) == (401, "token_unknown")
    made = make_token(site, "brief")
    assert call(site, made["token"])[0] == 200
    site.kled("token", "revoke", made["id"])
    status, body = call(site, made["token"])
    assert (status, body["error"]["code"]) == (401, "token_revoked")
    done = site.kled("list", env={"KLED_TOKEN": made["token"]}, check=False)
    assert done.returncode == 3
    assert "revoked" in done.stderr


@pytest.mark.parametrize("path", ["workspaces/dev/stream", "agent/stream"])
def test_a_malformed_websocket_request_is_named(site: Site, path: str) -> None:
    headers = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13"}
    answer = httpx.get(f"{site.url}/api/v1/{path}", headers=headers, trust_env=False)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "head_malformed")
    assert "Sec-WebSocket-Key" in answer.json()["error"]["message"]
    assert "Traceback" not in site.log.read_text()


def test_a_foreign_workspace_is_not_found(site: Site) -> None:
    with member(site, "bob") as bob:
        for words in (["show", "dev.admin"], ["exec", "dev.admin", "true"], ["stop", "dev.admin"]):
            done = site.kled(*words, env=bob, check=False)
            assert done.returncode == 4, done.stderr
        assert site.kled("--output", "json", "list", env=bob).stdout.strip() == "[]"
        token = (site.root / "bob" / "tokens" / "default").read_text().strip()
        assert call(site, token, "/workspaces/dev.admin")[0] == 404


def test_a_member_may_not_push_templates(site: Site) -> None:
    with member(site, "carol") as carol:
        done = site.kled("template", "push", PROCESS_TEMPLATE, env=carol, check=False)
        assert done.returncode == 3, done.stderr


def test_a_name_is_taken_once(site: Site) -> None:
    done = site.kled("create", "dev", "--template", "process", check=False)
    assert done.returncode == 5
    assert "dev" in done.stderr
    assert len([w for w in site.ask("list") if w["name"] == "dev"]) == 1


def test_a_syntax_error_names_file_line_and_makes_nothing(site: Site, tmp_path: Path) -> None:
    (tmp_path / "main.tf").write_text('resource "kled_agent" "main" {\n  name = \n}\n')
    done = site.kled("template", "push", tmp_path, "--name", "broken", check=False)
    assert done.returncode == 2
    assert "main.tf:2: " in done.stderr
    assert "Invalid expression" in done.stderr
    assert "broken" not in [t["name"] for t in site.ask("template", "list")]


def test_a_wrong_attribute_makes_no_new_version(site: Site, tmp_path: Path) -> None:
    main = (PROCESS_TEMPLATE / "main.tf").read_text()
    (tmp_path / "main.tf").write_text(main)
    site.kled("template", "push", tmp_path, "--name", "versions")
    (tmp_path / "main.tf").write_text(main.replace('name = "main"', 'nmae = "main"'))
    done = site.kled("template", "push", tmp_path, "--name", "versions", check=False)
    assert done.returncode == 2
    assert "nmae" in done.stderr
    assert len(site.ask("template", "show", "versions")["versions"]) == 1
    site.kled("template", "delete", "versions", "--yes")


def test_a_failing_build_says_terraforms_words(site: Site, tmp_path: Path) -> None:
    main = (PROCESS_TEMPLATE / "main.tf").read_text()
    (tmp_path / "main.tf").write_text(
        main.replace('name     = "agent"', 'name     = "agent"\n  command  = ["/no/such/program"]')
    )
    site.kled("template", "push", tmp_path, "--name", "failing")
    done = site.kled("create", "sad", "--template", "failing", check=False)
    assert done.returncode == 1
    assert "/no/such/program" in done.stderr
    assert site.ask("show", "sad")["status"] == "failed"
    site.kled("delete", "sad", "--yes")
    site.kled("template", "delete", "failing", "--yes")


def test_without_terraform_a_sentence_says_how_to_get_one(tmp_path: Path) -> None:
    """A PATH with everything but Terraform, and no embedded one."""
    empty = tmp_path / "bin"
    empty.mkdir()
    for name in ("sh", "ps", "uname"):
        if found := next(
            (p for d in os.environ["PATH"].split(":") if (p := Path(d) / name).exists()), None
        ):
            (empty / name).symlink_to(found)
    with open_site() as site:
        site.stop_serving()
        # One that is there at the start, where its absence would be refused, and gone at the push.
        terraform = empty / "terraform"
        terraform.write_text('#!/bin/sh\necho \'{"terraform_version": "1.11.4"}\'\n')
        terraform.chmod(0o755)
        site.serve(PATH=str(empty), KLED_COORD_TERRAFORM_PATH=str(terraform))
        terraform.unlink()
        done = site.kled("template", "push", PROCESS_TEMPLATE, check=False)
        assert done.returncode != 0
        assert "install OpenTofu" in done.stderr


def test_a_wrong_address_says_what_to_check(site: Site) -> None:
    env = {"KLED_CONFIG_DIR": str(site.root / "nowhere"), "KLED_TOKEN": "kled_x"}
    done = site.kled("--url", "http://127.0.0.1:9", "list", env=env, check=False)
    assert done.returncode == 7
    assert len(done.stderr.splitlines()) == 1


def test_init_gives_a_code_once(site: Site) -> None:
    again = json.loads(site.run(BIN / "kled-coord", "init", "--output", "json").stdout)
    assert again["code"] is None


def test_an_expired_token_is_named(site: Site) -> None:
    made = httpx.post(
        f"{site.url}/api/v1/tokens",
        headers={"Authorization": f"Bearer {admin_token(site)}"},
        json={"name": "short", "lifetime_s": 1},
        trust_env=False,
    ).json()
    wait_until("the token has expired", lambda: call(site, made["token"])[0] == 401)
    assert call(site, made["token"])[1]["error"]["code"] == "token_expired"


def admin_token(site: Site) -> str:
    return (site.home / ".config/kled/tokens/default").read_text().strip()


def test_a_member_makes_no_workspace_of_a_template_for_template_admins(site: Site) -> None:
    words = "create", "mine", "--template", "process", "--no-wait"
    with member(site, "carol") as env:
        site.kled("template", "edit", "process", "--usable-by", "template-admins")
        try:
            refused = site.kled(*words, env=env, check=False)
            assert refused.returncode == 3
            assert refused.stderr.startswith(
                "error: only template admins may make workspaces of process"
            )
            assert "mine" not in site.kled("list", "--all").stdout
        finally:
            site.kled("template", "edit", "process", "--usable-by", "everybody")
        site.kled(*words[:-1], env=env)
        site.kled("delete", "mine", "--yes", env=env)
