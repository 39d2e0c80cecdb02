"""Parameters on the command line: from a file, from a terminal without echo, and shown masked."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from tests.client.conftest import ROOT, Kled
from tests.client.fake import Fake, workspace
from tests.kit.terminal import Terminal

BUILD = "/api/v1/workspaces/ws_00000000000000000001/builds"


def variable(name: str, **more: Any) -> dict[str, Any]:
    said = {"name": name, "type": "string", "default": None, "description": "", "required": True}
    return {**said, "sensitive": False, **more}


def declare(fake: Fake, *variables: dict[str, Any]) -> None:
    version = {"number": 1, "variables": variables, "created_at": "x", "created_by": "a"}
    template = {"name": "process", "active_version": 1, "versions": [version]}
    fake.routes["GET", "/api/v1/templates/process"] = (200, template)


def sent(fake: Fake, path: str = "/api/v1/workspaces") -> list[dict[str, str]]:
    bodies = [
        json.loads(body)
        for method, where, body in fake.requests
        if method == "POST" and where == path
    ]
    return [body.get("parameters", {}) for body in bodies]


def test_a_value_comes_from_a_file_or_standard_input(
    signed_in: Fake, kled: Kled, tmp_path: Path
) -> None:
    declare(signed_in, variable("key", sensitive=True), variable("size"))
    file = tmp_path / "key"
    file.write_text("hunter2\nand more\n")
    done = kled("create", "dev", "-p", f"key=@{file}", "-p", "size=@@2")
    assert done.returncode == 0, done.stderr
    assert b"arguments" not in done.stderr
    kled("start", "dev", "-p", "key=@-", input=b"from stdin")
    assert sent(signed_in) == [{"key": "hunter2\nand more", "size": "@2"}]
    assert sent(signed_in, BUILD) == [{"key": "from stdin"}]
    for words in (["-p", "key=@/nowhere"], ["-p", "key"], ["-p", "=x"]):
        refused = kled("create", "dev", *words)
        assert (refused.returncode, refused.stderr.count(b"\n")) == (2, 1), refused.stderr
    # Given all the same, with a word of what that means.
    told = kled("create", "dev", "-p", "key=hunter2")
    assert b"better -p key=@FILE" in told.stderr
    assert b"hunter2" not in told.stderr


def test_what_is_needed_is_asked_without_echo(signed_in: Fake) -> None:
    declare(
        signed_in,
        variable("key", sensitive=True, description="For the \x1b[31mregistry"),
        variable("size"),
        variable("shell", required=False, default="sh"),
    )
    env = {**signed_in.env(), "PYTHONPATH": str(ROOT)}
    words = [sys.executable, "-m", "kled_client", "create", "dev", "--no-wait"]
    terminal = Terminal(words, env)
    terminal.wait_for("key (For the  [31mregistry): ")
    terminal.type("hunter2\n")
    terminal.wait_for("size: ")
    terminal.type("4\n")
    terminal.wait_for("queued")
    assert terminal.close() == 0
    assert "hunter2" not in terminal.text
    assert sent(signed_in) == [{"key": "hunter2", "size": "4"}]


def test_update_takes_parameters_and_asks_for_none_it_has(signed_in: Fake, kled: Kled) -> None:
    declare(signed_in, variable("key", sensitive=True))
    assert kled("update", "dev", "-p", "size=8", "--no-wait").returncode == 0
    assert sent(signed_in, BUILD) == [{"size": "8"}]


def test_a_sensitive_value_is_shown_as_stars(signed_in: Fake, kled: Kled) -> None:
    found = {**workspace(), "parameters": {"key": None, "size": "4"}}
    signed_in.routes["GET", "/api/v1/workspaces/dev"] = (200, found)
    lines = kled("show", "dev").stdout.decode().splitlines()
    assert ["parameter", "key", "***"] in [line.split() for line in lines]
    declare(signed_in, variable("key", sensitive=True, required=False), variable("size"))
    template = kled("template", "show", "process").stdout.decode().splitlines()
    assert ["key", "string", "***"] in [line.split() for line in template]
    assert ["size", "string", "(needed)"] in [line.split() for line in template]
