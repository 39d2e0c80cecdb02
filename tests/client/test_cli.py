"""The commands against a fake coordinator, in processes of their own."""

from __future__ import annotations

import base64
import json
import re
import stat
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from kled_client.cli.main import _entries, cli
from tests.client.conftest import Kled, one_line
from tests.client.fake import CODE, TOKEN, Fake, problem, workspace

BUILD = "/api/v1/workspaces/ws_00000000000000000001/builds"


def test_help_lists_every_command_without_importing_them() -> None:
    result = CliRunner().invoke(cli, ["--help"])
    assert result.exit_code == 0
    for name, entry in _entries().items():
        assert name in result.output
        assert entry.help in result.output


@pytest.mark.parametrize("name", sorted(_entries()))
def test_every_command_has_help(name: str) -> None:
    result = CliRunner().invoke(cli, [name, "--help"])
    assert result.exit_code == 0, result.output
    assert "Usage:" in result.output


def test_login_by_code_then_whoami_then_logout(fake: Fake, kled: Kled, home: Path) -> None:
    done = kled("login", fake.url, "--code", "-", input=f"{fake.url}/login#{CODE}\n".encode())
    assert done.returncode == 0, done.stderr
    token = home / ".config/kled/tokens/default"
    assert token.read_text() == f"{TOKEN}\n"
    assert stat.S_IMODE(token.stat().st_mode) == 0o600
    assert stat.S_IMODE((home / ".config/kled/ssh/id_ed25519").stat().st_mode) == 0o600
    assert (home / ".config/kled/ssh/id_ed25519-cert.pub").exists()
    assert b"alice" in kled("whoami").stdout
    assert kled("logout").returncode == 0
    assert not token.exists()
    assert kled("whoami").returncode == 3


def test_login_by_environment_and_by_password(fake: Fake, kled: Kled) -> None:
    assert kled("login", fake.url, env={"KLED_LOGIN_CODE": CODE}).returncode == 0
    done = kled("login", "-u", "alice", "--password-stdin", input=b"secret\n")
    assert done.returncode == 0, done.stderr
    sent = json.loads(next(r[2] for r in reversed(fake.requests) if r[1].endswith("/login")))
    assert (sent["username"], sent["password"]) == ("alice", "secret")


def test_login_refusals(fake: Fake, kled: Kled) -> None:
    assert "code on the command line" in one_line(kled("login", fake.url, "--code", CODE).stderr)
    assert "no terminal" in one_line(kled("login", fake.url).stderr)
    assert "no coordinator is given" in one_line(kled("login").stderr)
    assert "not a coordinator's URL" in one_line(kled("login", "ftp://x").stderr)
    bad = kled("login", fake.url, "--code", "-", input=b"kled_once_wrong\n")
    assert bad.returncode == 3
    assert "unknown or was used" in one_line(bad.stderr)
    fake.routes["GET", "/api/v1/version"] = (200, {"version": "9", "protocol": "9.0"})
    assert "protocol 9.0" in one_line(kled("login", fake.url, env={"KLED_LOGIN_CODE": CODE}).stderr)


def test_logout_without_a_coordinator_still_forgets(signed_in: Fake, kled: Kled) -> None:
    signed_in.routes["POST", "/api/v1/auth/logout"] = problem(503, "down", "the store is down")
    done = kled("logout")
    assert done.returncode == 7
    assert "not revoked" in one_line(done.stderr)
    assert kled("whoami").returncode == 3


def test_list_and_show(signed_in: Fake, kled: Kled) -> None:
    table = kled("list").stdout.decode().splitlines()
    assert table[0].split() == ["NAME", "TEMPLATE", "STATUS", "AGENT", "LAST", "USED"]
    assert table[1].split() == ["dev", "process", "running", "connected", "-"]
    assert json.loads(kled("-o", "json", "list").stdout) == [workspace()]
    resources = f"/api/v1/workspaces/{workspace()['id']}/resources"
    made = [{"address": "kled_agent.main", "type": "kled_agent"}]
    signed_in.routes["GET", resources] = (200, made)
    shown = json.loads(kled("-o", "json", "show", "dev").stdout)
    assert shown == {**workspace(), "resources": made}
    machine = kled("show", "dev").stdout.decode()
    assert re.search(r"machine +box linux x86_64", machine), machine
    assert re.search(r"resources +kled_agent.main\n", machine), machine
    assert b"OWNER" in kled("list", "--all").stdout
    assert signed_in.requests[-1][1] == "/api/v1/workspaces?owner=%2A"
    missing = kled("show", "nope")
    assert missing.returncode == 4
    assert one_line(missing.stderr) == "error: there is no workspace nope (kled list)\n"


@pytest.mark.parametrize(
    ("words", "exit_code", "code"),
    [
        (["show", "nope"], 4, "workspace_not_found"),
        (["show", "NOPE"], 2, "name_invalid"),
        (["show", "--nope"], 2, "usage"),
    ],
)
def test_errors_are_json_where_that_is_asked_for(
    signed_in: Fake, kled: Kled, words: list[str], exit_code: int, code: str
) -> None:
    done = kled("--output", "json", *words)
    assert done.returncode == exit_code
    (line,) = done.stderr.decode().splitlines()
    error = json.loads(line)["error"]
    assert error["code"] == code
    assert set(error) == {"code", "message", "hint"}
    assert f"error: {error['message']}" in one_line(kled(*words).stderr)


def test_create_follows_the_build(signed_in: Fake, kled: Kled) -> None:
    signed_in.log = [
        {"seq": 1, "at": "x", "level": "info", "text": "Plan: [bold]2[/bold] to add"},
        {"progress": {"done": 1, "total": 2, "message": "kled_agent.main"}},
        {"end": {"status": "succeeded", "error": None}},
    ]
    signed_in.log.insert(1, {"seq": 2, "at": "x", "level": "warning", "text": "old provider"})
    done = kled("--verbose", "create", "dev", "-p", "cpus=2")
    assert done.returncode == 0, done.stderr
    assert b"Plan: [bold]2[/bold] to add\nold provider\n" in done.stderr
    quiet = kled("create", "dev", "-p", "cpus=2")
    assert quiet.stderr.startswith(b"old provider\ndev is ready")
    assert b"next: kled ssh dev" in done.stderr
    body = json.loads(next(r[2] for r in signed_in.requests if r[0] == "POST"))
    assert body == {"name": "dev", "template": "process", "parameters": {"cpus": "2"}}
    quiet = kled("-o", "json", "workspace", "create", "dev", "--no-wait")
    assert json.loads(quiet.stdout)["name"] == "dev"


def test_a_failed_build_is_an_error(signed_in: Fake, kled: Kled) -> None:
    signed_in.log = [{"end": {"status": "failed", "error": "no space left\non the disk"}}]
    done = kled("start", "dev")
    assert done.returncode == 1
    assert "no space left on the disk" in one_line(done.stderr)
    assert "Traceback" not in done.stderr.decode()


def test_stop_and_delete(signed_in: Fake, kled: Kled) -> None:
    assert kled("stop", "dev").returncode == 0
    assert "needs a confirmation" in one_line(kled("delete", "dev").stderr)
    signed_in.routes["POST", BUILD] = (202, {"id": "bld_3", "transition": "delete"})
    assert b"is deleted" in kled("delete", "dev", "--yes").stderr
    sent = [json.loads(r[2]) for r in signed_in.requests if r[1] == BUILD]
    assert [body["transition"] for body in sent] == ["stop", "delete"]
    signed_in.routes["POST", BUILD] = problem(409, "build_active", "a build is running")
    assert kled("stop", "dev").returncode == 5


BUILDS = "/api/v1/workspaces/dev/builds"


def test_logs_of_the_latest_and_of_another_build(signed_in: Fake, kled: Kled) -> None:
    signed_in.routes["GET", BUILDS] = (
        200,
        [{"id": f"bld_{n}", "number": n, "transition": "start"} for n in (2, 1)],
    )
    signed_in.log = [
        {"seq": 1, "at": "x", "level": "debug", "text": "Plan: [bold]2[/bold] to add"},
        {"progress": {"done": 1, "total": 2, "message": "apply"}},
    ]
    shown = kled("logs", "dev")
    assert shown.stdout == b"Plan: [bold]2[/bold] to add\n"
    assert shown.stderr == b"build 2 (start) goes on\n"
    assert signed_in.asked("/api/v1/builds/bld_2/logs?after=0&follow=false")
    signed_in.log.append({"end": {"status": "failed", "error": "no space"}})
    followed = kled("workspace", "logs", "dev", "--build", "1", "--follow")
    assert followed.returncode == 0
    assert followed.stderr == b"build 1 (start) failed: no space\n"
    assert signed_in.asked("/api/v1/builds/bld_1/logs?after=0&follow=true")
    objects = kled("-o", "json", "logs", "dev").stdout.splitlines()
    assert [json.loads(line) for line in objects] == signed_in.log
    missing = kled("logs", "dev", "--build", "9")
    assert (missing.returncode, b"no build 9" in missing.stderr) == (4, True)


def test_a_script_that_several_agents_have_is_that_of_the_agent_that_is_named(
    signed_in: Fake, kled: Kled
) -> None:
    def agent(name: str) -> dict[str, Any]:
        run = {"id": f"r-{name}", "name": "Clone", "script": "c", "agent": name}
        return {"id": f"agt_{name}", "name": name, "scripts": [run]}

    side, main = agent("side"), agent("main")
    for ref, meant, expected in (
        ("dev", main, "main"), ("side--dev", side, "side"), ("main--dev", main, "main")
    ):  # fmt: skip
        found = {**workspace(), "agents": [side, main], "agent": meant}
        signed_in.routes["GET", f"/api/v1/workspaces/{ref}"] = (200, found)
        output = f"/api/v1/workspaces/{ref}/scripts/{expected}/r-{expected}/output"
        signed_in.routes["GET", output] = (200, expected)
        done = kled("logs", ref, "--script", "Clone")
        assert (done.returncode, done.stdout) == (0, f'"{expected}"'.encode())
    found = {**workspace(), "agents": [side, main], "agent": None}
    signed_in.routes["GET", "/api/v1/workspaces/ghost--dev"] = (200, found)
    assert kled("logs", "ghost--dev", "--script", "Clone").returncode == 4


def test_update_is_a_start_with_another_version(signed_in: Fake, kled: Kled) -> None:
    signed_in.routes["GET", "/api/v1/templates/process"] = (200, {"active_version": 7})
    signed_in.routes["POST", BUILD] = (202, {"id": "bld_3", "transition": "start"})
    assert b"dev is ready" in kled("workspace", "update", "dev").stderr
    assert kled("workspace", "update", "dev", "--version", "3", "--no-wait").returncode == 0
    sent = [json.loads(r[2]) for r in signed_in.requests if r[1] == BUILD]
    assert sent == [{"transition": "start", "version": version} for version in (7, 3)]


def test_an_agents_token_is_never_shown_to_a_pipe(
    signed_in: Fake, kled: Kled, tmp_path: Path
) -> None:
    secret = {"agent_id": "agt_1", "token": "kled_agent_x", "coordinator_url": "https://c"}
    path = "/api/v1/workspaces/dev/agents/main/token"
    signed_in.routes["POST", path] = (200, secret)
    refused = kled("workspace", "agent-token", "dev")
    assert (refused.returncode, "--output-file" in one_line(refused.stderr)) == (2, True)
    assert path not in [r[1] for r in signed_in.requests]
    file = tmp_path / "agent.env"
    done = kled("-o", "json", "workspace", "agent-token", "dev", "--output-file", str(file))
    assert json.loads(done.stdout) == {"agent_id": "agt_1", "file": str(file)}
    assert b"kled_agent_x" not in done.stdout + done.stderr
    assert file.read_text() == "KLED_COORDINATOR_URL=https://c\nKLED_AGENT_TOKEN=kled_agent_x\n"
    assert file.stat().st_mode & 0o777 == 0o600


def test_template_push(signed_in: Fake, kled: Kled, tmp_path: Path) -> None:
    directory = tmp_path / "process"
    directory.mkdir()
    (directory / "main.tf").write_text("resource")
    (directory / "terraform.tfstate").write_text("{}")
    path = "/api/v1/templates/process/versions"
    change = {"address": "docker_container.ws", "action": "create"}
    pushed = {"number": 3, "changes": [change], "warnings": ["main.tf:1: old"]}
    signed_in.routes["POST", path] = (201, pushed)
    values = tmp_path / "eu.tfvars"
    values.write_text('region = "eu"\n')
    words = ["--var", "size=2", "--var-file", str(values), "-p", "kind=a", "--no-activate"]
    words += ["--version-name", "v1.2"]
    done = kled("template", "push", str(directory), "-m", "why not", *words)
    assert done.returncode == 0, done.stderr
    method, target, body = signed_in.requests[-1]
    assert (method, target) == ("POST", path)  # nothing of it in a URL, which proxies log
    assert b"left out: terraform.tfstate\n" in done.stderr
    sent = json.loads(body)
    assert base64.b64decode(sent.pop("archive"))[:2] == b"\x1f\x8b"
    assert sent == {
        "name": "v1.2",
        "message": "why not",
        "activate": False,
        "variables": {"size": "2"},
        "variable_files": [{"name": "eu.tfvars", "content": 'region = "eu"\n'}],
        "parameters": {"kind": "a"},
    }
    for line in (b"warning: main.tf:1: old", b"  create docker_container.ws", b"not active"):
        assert line in done.stderr
    problem_words = "main.tf line 1: Argument or block definition required"
    signed_in.routes["POST", path] = problem(422, "template_invalid", problem_words)
    refused = kled("template", "push", str(directory))
    assert refused.returncode == 2
    assert problem_words in one_line(refused.stderr)


@pytest.mark.parametrize(
    "words",
    [
        ("bogus",),
        ("list", "--bogus"),
        ("show",),
        ("show", "No Such"),
        ("create", "UPPER"),
        ("create", "dev", "-p", "x"),
        ("forward", "dev", "x"),
        ("cp", "a", "b"),
        ("-o", "xml", "list"),
        ("--profile", "../x", "list"),
        ("token", "revoke", "kled_secret"),
        ("template", "push", "/nonexistent"),
    ],
)
def test_bad_input_is_one_line(signed_in: Fake, kled: Kled, words: tuple[str, ...]) -> None:
    done = kled(*words)
    assert done.returncode == 2, done.stderr
    assert "kled_secret" not in one_line(done.stderr)


def test_something_else_answers(signed_in: Fake, kled: Kled) -> None:
    signed_in.routes["GET", "/api/v1/users/me"] = (502, "<html>")
    assert "not a coordinator's answer" in one_line(kled("whoami").stderr)
    env = {"KLED_URL": "http://127.0.0.1:9", "KLED_TOKEN": TOKEN}
    down = kled("list", env=env)
    assert down.returncode == 7
    assert "cannot reach http://127.0.0.1:9" in one_line(down.stderr)


def test_a_servers_words_do_not_steer_the_terminal(signed_in: Fake, kled: Kled) -> None:
    signed_in.routes["GET", "/api/v1/users/me"] = problem(403, "no", "\x1b[2Jgone\r\nmore")
    assert one_line(kled("whoami").stderr).count("\x1b") == 0


def test_version_completion_and_urls(signed_in: Fake, kled: Kled) -> None:
    assert b"protocol 1.0" in kled("version").stdout
    assert kled("version", env={"KLED_CONFIG_DIR": "/nonexistent"}).returncode == 0
    for shell in ("bash", "zsh", "fish"):
        assert b"_KLED_COMPLETE" in kled("completion", shell).stdout
    elsewhere = kled("--url", "http://127.0.0.1:9", "whoami")
    assert elsewhere.returncode == 3
    assert "no token for http://127.0.0.1:9" in one_line(elsewhere.stderr)


def test_config_ssh(signed_in: Fake, kled: Kled, home: Path) -> None:
    config = home / ".ssh/config"
    config.parent.mkdir()
    original = b"Host *\n  ForwardAgent no"
    target = home / "dotfiles"
    target.write_bytes(original)
    config.symlink_to(target)
    shown = kled("config-ssh", "--dry-run")
    assert b"Host *.kled" in shown.stdout
    assert target.read_bytes() == original
    assert kled("config-ssh").returncode == 0
    assert config.is_symlink()
    assert target.read_bytes() == shown.stdout
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert b"up to date" in kled("config-ssh").stderr
    assert kled("config-ssh", "--remove").returncode == 0
    assert target.read_bytes() == original


def test_versions_are_promoted_archived_and_pulled(
    signed_in: Fake, kled: Kled, tmp_path: Path
) -> None:
    url = "/api/v1/templates/process"
    versions = [
        {"number": 2, "message": "two", "archived_at": None},
        {"number": 1, "message": "one", "archived_at": "2026-01-01T00:00:00Z"},
    ]
    template = {"name": "process", "active_version": 2, "versions": versions}
    signed_in.routes["GET", url] = (200, template)
    signed_in.routes["PATCH", url] = (200, {**template, "active_version": 1})
    signed_in.routes["PATCH", f"{url}/versions/1"] = (200, versions[1])
    listed = kled("template", "versions", "process").stdout.decode()
    assert "active" in listed.splitlines()[1]
    assert "archived" in listed.splitlines()[2]
    for words, sent in (
        (["promote", "process", "1"], {"active_version": 1}),
        (["rollback", "process"], {"active_version": "previous"}),
        (["archive", "process", "1"], {"archived": True}),
        (["archive", "process", "1", "--undo"], {"archived": False}),
        (["edit", "process", "--description", "Small"], {"description": "Small"}),
        (["edit", "process", "--stop-after-s", "60"], {"stop_after_s": 60}),
        (["edit", "process", "--stop-after-s", "never"], {"stop_after_s": "never"}),
        (["edit", "process", "--usable-by", "everybody"], {"usable_by": "everybody"}),
    ):
        done = kled("template", *words)
        assert done.returncode == 0, done.stderr
        assert json.loads(signed_in.requests[-1][2]) == sent
    assert kled("template", "edit", "process").returncode == 2


@pytest.mark.parametrize("name", ["docker", "kubernetes", "process"])
def test_what_ships_can_be_written_and_packed(kled: Kled, tmp_path: Path, name: str) -> None:
    assert name in kled("template", "init").stdout.decode()
    target = tmp_path / name
    assert kled("template", "init", name, str(target)).returncode == 0
    assert (target / "main.tf").is_file()
    assert kled("template", "init", name, str(target)).returncode == 5
