"""`kled open`, `kled api` and `kled dotfiles`."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from kled_client.cli.api import full_path
from kled_wire.errors import InputError
from tests.client.conftest import Kled, one_line
from tests.client.fake import Fake, problem, workspace


def script(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


@pytest.mark.parametrize(
    ("editor", "program", "uri", "words"),
    [
        (
            "vscode", "code", "vscode://vscode-remote/ssh-remote+dev.kled/srv/a%20b",
            "--remote ssh-remote+dev.kled /srv/a b",
        ),
        (
            "cursor", "cursor", "cursor://vscode-remote/ssh-remote+dev.kled/srv/a%20b",
            "--remote ssh-remote+dev.kled /srv/a b",
        ),
        (
            "windsurf", "windsurf", "windsurf://vscode-remote/ssh-remote+dev.kled/srv/a%20b",
            "--remote ssh-remote+dev.kled /srv/a b",
        ),
        ("zed", "zeditor", "zed://ssh/dev.kled/srv/a%20b", "ssh://dev.kled/srv/a%20b"),
        (
            "jetbrains", "xdg-open",
            "jetbrains://gateway/ssh/environment?h=dev.kled&launchIde=true&projectHint=/srv/a%20b",
            "jetbrains://gateway/ssh/environment?h=dev.kled&launchIde=true&projectHint=/srv/a%20b",
        ),
    ],
)  # fmt: skip
def test_an_editor_is_started_or_its_uri_said(
    signed_in: Fake, kled: Kled, home: Path, tmp_path: Path, editor: str, program: str, uri: str,
    words: str,
) -> None:  # fmt: skip
    env = {"PATH": str(tmp_path / "bin")}
    done = kled("open", editor, "dev", "/srv/a b", env=env)
    assert done.stdout.decode() == f"{uri}\n", done.stderr
    assert b"Host *.kled" in (home / ".ssh/config").read_bytes()
    script(tmp_path / "bin" / program, 'echo "$@"')
    assert kled("open", editor, "dev", "/srv/a b", env=env).stdout.decode() == f"{words}\n"
    script(tmp_path / "bin" / program, "exit 3")
    failed = kled("open", editor, "dev", "-o", "json", env=env)
    assert json.loads(failed.stdout)["program"] == str(tmp_path / "bin" / program)
    assert json.loads(failed.stderr)["error"]["code"] == "editor_failed"


def app(slug: str, **fields: Any) -> dict[str, Any]:
    shown = {"url": "", "command": "", "external": False, "hidden": False, **fields}
    return {"slug": slug, "display_name": slug.title(), **shown}


def with_apps(signed_in: Fake, *apps: dict[str, Any]) -> None:
    found = workspace()
    found["agents"] = [{**found["agent"], "apps": list(apps)}]
    found["agent"] = found["agents"][0]
    signed_in.routes["GET", "/api/v1/workspaces/dev"] = (200, found)


def test_an_app_is_opened_where_it_is(signed_in: Fake, kled: Kled, tmp_path: Path) -> None:
    seen = tmp_path / "seen"
    script(tmp_path / "browser", f'echo "$1" > {seen}')
    env = {"BROWSER": f"{tmp_path / 'browser'} %s"}
    wiki = app("wiki", url="https://wiki.example/x", external=True)
    with_apps(signed_in, wiki, app("gone", hidden=True))
    # The only one needs no name.
    assert kled("open", "app", "dev", env=env).stdout == b"https://wiki.example/x\n"
    assert seen.read_text() == "https://wiki.example/x\n"
    with_apps(signed_in, wiki, app("top", command="htop"), app("blind", url=None, command=None))
    listed = kled("open", "app", "dev").stdout.decode().splitlines()
    assert [line.split()[0] for line in listed] == ["APP", "wiki", "top", "blind"]
    assert b"app wiki" in kled("show", "dev").stdout
    missing = kled("open", "app", "dev", "nope")
    assert missing.returncode == 4
    assert "apps: wiki, top, blind" in one_line(missing.stderr)
    assert "no URL that you may see" in one_line(kled("open", "app", "dev", "blind").stderr)


def test_an_app_whose_url_is_no_page_is_not_given_to_the_browser(
    signed_in: Fake, kled: Kled, tmp_path: Path
) -> None:
    script(tmp_path / "browser", f"touch {tmp_path / 'seen'}")
    with_apps(signed_in, app("files", url="file:///etc/passwd", external=True))
    env = {"BROWSER": f"{tmp_path / 'browser'} %s"}
    assert kled("open", "app", "dev", env=env).stdout == b"file:///etc/passwd\n"
    assert not (tmp_path / "seen").exists()


def test_api_sends_one_request_and_prints_the_answer_unchanged(
    signed_in: Fake, kled: Kled, tmp_path: Path
) -> None:
    sent = []

    def take(body: bytes) -> tuple[int, Any]:
        sent.append(json.loads(body))
        return 201, {"made": True}

    signed_in.routes["POST", "/api/v1/things"] = take
    done = kled("api", "post", "/things", "-f", "name=dev", "-f", "count=3", "-f", 'deep={"a":[]}')
    assert (done.returncode, json.loads(done.stdout)) == (0, {"made": True}), done.stderr
    body = tmp_path / "body"
    body.write_text('{"from": "a file"}')
    assert kled("api", "POST", "/api/v1/things", "--input", str(body)).returncode == 0
    assert kled("api", "POST", "/things", "--input", "-", input=b'"stdin"').returncode == 0
    assert sent == [{"name": "dev", "count": 3, "deep": {"a": []}}, {"from": "a file"}, "stdin"]
    signed_in.routes["GET", "/api/v1/things"] = problem(404, "thing_not_found", "no such thing")
    missing = kled("api", "GET", "/things", "-q", "a=b c")
    assert (missing.returncode, missing.stdout) == (4, b"")
    assert one_line(missing.stderr) == "error: no such thing\n"
    assert signed_in.requests[-1][1] == "/api/v1/things?a=b+c"
    for words in (["-f", "x"], ["--input", "/nowhere"], ["-f", "a=b", "--input", "-"]):
        assert kled("api", "POST", "/things", *words).returncode == 2


@pytest.mark.parametrize(
    "path", ["http://other/x", "//other/x", "things", "", "/a#b", "/../x", "/./x?y", "/x/.."]
)
def test_the_token_goes_nowhere_else(path: str) -> None:
    with pytest.raises(InputError, match="is no path"):
        full_path(path)


def repository(place: Path, **files: str) -> str:
    for name, text in files.items():
        script(place / name.replace("__", "."), text)
    for words in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "files"]):
        git = ["git", "-c", "user.name=a", "-c", "user.email=a@b", "-C", str(place), *words]
        subprocess.run(git, check=True, capture_output=True)
    return f"file://{place}"


def test_dotfiles_are_linked_and_what_was_there_is_kept(
    fake: Fake, kled: Kled, home: Path, tmp_path: Path
) -> None:
    source = tmp_path / "source"
    script(source / ".config/app/rc", "two")
    url = repository(source, __vimrc="one", README="no")
    (home / ".vimrc").write_text("mine")
    refused = kled("dotfiles", url)
    assert refused.returncode == 2
    assert "--yes" in one_line(refused.stderr)
    done = kled("dotfiles", url, "--yes", "-o", "json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        "directory": f"{home}/.config/kled/dotfiles",
        "ran": None,
        "linked": [".config/app", ".vimrc"],
        "moved": [".vimrc.before.1"],
    }
    assert (home / ".vimrc").resolve() == home / ".config/kled/dotfiles/.vimrc"
    assert (home / ".vimrc.before.1").read_text() == "mine"
    assert not (home / "README").exists()
    assert json.loads(kled("dotfiles", url, "-y", "-o", "json").stdout)["linked"] == []


def test_a_script_of_the_dotfiles_is_run_and_its_failure_said(
    fake: Fake, kled: Kled, home: Path, tmp_path: Path
) -> None:
    source = tmp_path / "source"
    url = repository(source, install__sh='echo made >> "$HOME/made"; echo hello', __x="")
    done = kled("dotfiles", url, "--yes")
    assert (done.returncode, (home / "made").read_text()) == (0, "made\n"), done.stderr
    assert b"install.sh" in done.stdout
    assert b"hello" in done.stderr
    assert not (home / ".x").exists()
    script(source / "install.sh", "exit 3")
    repository(source)
    failed = kled("dotfiles", url, "--yes")
    assert failed.returncode == 1
    assert "install.sh ended with 3" in failed.stderr.decode()
    assert "not installed on this machine" in failed.stderr.decode()
    other = kled("dotfiles", f"{url}/.", "--yes")
    assert "remove it to use another repository" in other.stderr.decode()
    assert kled("dotfiles", "--yes", "--", "--upload-pack=x").returncode == 2


def test_git_is_needed(fake: Fake, kled: Kled, tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/sh").symlink_to("/bin/sh")
    done = kled("dotfiles", "https://x.example/y", "-y", env={"PATH": str(tmp_path / "bin")})
    assert done.returncode == 1
    assert b"git is not installed here" in done.stderr
