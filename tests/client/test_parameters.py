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


def declare(
    fake: Fake, *variables: dict[str, Any], parameters: Any = (), presets: Any = ()
) -> None:
    version = {"number": 1, "variables": variables, "parameters": parameters, "presets": presets}
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
    terminal.wait_for("key (For the registry): ")
    terminal.type("hunter2\n")
    terminal.wait_for("size: ")
    terminal.type("\n4\n")  # an empty line is no value
    terminal.wait_for("queued")
    assert terminal.close() == 0
    assert "hunter2" not in terminal.text
    assert sent(signed_in) == [{"key": "hunter2", "size": "4"}]


def test_update_takes_parameters_and_asks_for_none_it_has(signed_in: Fake, kled: Kled) -> None:
    declare(signed_in, variable("key", sensitive=True))
    assert kled("update", "dev", "-p", "size=8", "--no-wait").returncode == 0
    assert sent(signed_in, BUILD) == [{"size": "8"}]


def test_a_sensitive_value_is_shown_as_stars(signed_in: Fake, kled: Kled) -> None:
    found = {**workspace(), "parameters": {"key": None, "size": "4", "hosts": "a  b\nc"}}
    signed_in.routes["GET", "/api/v1/workspaces/dev"] = (200, found)
    lines = kled("show", "dev").stdout.decode().splitlines()
    assert ["parameter", "key", "***"] in [line.split() for line in lines]
    assert any(line.endswith(" a  b c") for line in lines)
    declare(signed_in, variable("key", sensitive=True, required=False), variable("size"))
    template = kled("template", "show", "process").stdout.decode().splitlines()
    assert ["key", "string", "***"] in [line.split() for line in template]
    assert ["size", "string", "(needed)"] in [line.split() for line in template]
    assert "PRESET" not in "".join(template)


def test_show_lists_presets_with_their_values(signed_in: Fake, kled: Kled) -> None:
    big = {
        "name": "Big one",
        "description": "for games",
        "parameters": {"size": "9", "gpu": "true"},
    }
    declare(signed_in, parameters=[], presets=[big])
    assert b"Big one  size=9, gpu=true  for games" in kled("template", "show", "process").stdout


def asked(name: str, **more: Any) -> dict[str, Any]:
    said = {"name": name, "display_name": name.title(), "description": "", "type": "string"}
    plain = {"form_type": "input", "default": None, "mutable": True, "ephemeral": False}
    rest: dict[str, Any] = {"options": [], "validation": None, "value": "", "error": None}
    return {**said, **plain, **rest, **more}


def option(name: str, about: str = "") -> dict[str, str]:
    return {"name": name.title(), "value": name, "description": about, "icon": ""}


SIZES = [option("small", "for a start"), option("large"), option("huge")]


def evaluated(body: bytes) -> tuple[int, Any]:
    """A size, cpus where it is large, then a flag and tools."""
    given = json.loads(body)["parameters"]
    found = [asked("size", options=SIZES, default="small", value=given.get("size", "small"))]
    if found[0]["value"] == "large":
        cpus = given.get("cpus", "")
        error = None if cpus.isdigit() else "Cpus are whole numbers"
        found.append(asked("cpus", type="number", value=cpus or "0", error=error))
    found.append(asked("gpu", type="bool", default="false", value=given.get("gpu", "false")))
    tools = given.get("tools", '["git"]')
    kind = {"type": "list(string)", "form_type": "multi-select"}
    found.append(
        asked(
            "tools", **kind, default='["git"]', value=tools, options=[option("git"), option("vim")]
        )
    )
    return 200, {"parameters": found, "presets": []}


def asking(fake: Fake) -> None:
    declare(fake, parameters=None)
    fake.routes["POST", "/api/v1/templates/process/parameters/evaluate"] = evaluated
    workspace_url = "/api/v1/workspaces/ws_00000000000000000001/parameters/evaluate"
    fake.routes["POST", workspace_url] = evaluated


DOWN = "\x1b[B"


def test_parameters_are_asked_for_by_menus_and_again_where_one_is_wrong(signed_in: Fake) -> None:
    asking(signed_in)
    env = {**signed_in.env(), "PYTHONPATH": str(ROOT)}
    words = [sys.executable, "-m", "kled_client", "create", "dev", "--no-wait"]
    terminal = Terminal(words, env)
    terminal.wait_for("> Small - for a start")
    terminal.type(f"{DOWN}{DOWN}")
    terminal.wait_for("> Huge")
    terminal.type("\x1b[A\r")
    terminal.wait_for("cpus: ")
    terminal.type("\n")
    terminal.wait_for("cpus: \r\ncpus: ")
    terminal.type("two\n")
    terminal.wait_for("Cpus are whole numbers")
    terminal.type("2\n")
    terminal.wait_for("> no")
    terminal.type("\x1b[A\r")
    terminal.wait_for("> [x] Git")
    terminal.type(f" {DOWN} \r")
    terminal.wait_for("queued")
    assert terminal.close() == 0
    chosen = {"size": "large", "cpus": "2", "gpu": "true", "tools": '["vim"]'}
    assert sent(signed_in) == [chosen]


def test_a_menu_that_is_left_makes_nothing(signed_in: Fake) -> None:
    asking(signed_in)
    env = {**signed_in.env(), "PYTHONPATH": str(ROOT)}
    terminal = Terminal([sys.executable, "-m", "kled_client", "create", "dev"], env)
    terminal.wait_for("> Small")
    terminal.type("\x03")
    assert terminal.close() != 0
    assert sent(signed_in) == []


def test_with_defaults_a_preset_or_a_copy_only_what_is_needed_is_asked(signed_in: Fake) -> None:
    asking(signed_in)
    env = {**signed_in.env(), "PYTHONPATH": str(ROOT)}
    create = [sys.executable, "-m", "kled_client", "create", "dev", "--no-wait"]
    for words in (["-y", "-p", "size=large"], ["--preset", "Big", "-p", "size=large"]):
        terminal = Terminal([*create, *words], env)
        terminal.wait_for("cpus: ")
        terminal.type("4\n")
        terminal.wait_for("queued")
        assert terminal.close() == 0
    assert sent(signed_in) == [{"size": "large", "cpus": "4"}] * 2
    bodies = [json.loads(b) for m, p, b in signed_in.requests if p == "/api/v1/workspaces"]
    assert [body.get("preset") for body in bodies] == [None, "Big"]


def test_a_file_has_values_of_every_type_and_words_go_over_it(
    signed_in: Fake, kled: Kled, tmp_path: Path
) -> None:
    asking(signed_in)
    file = tmp_path / "p.toml"
    file.write_text('size = "small"\ngpu = true\ncpus = 4\ntools = ["git"]\n')
    done = kled("create", "dev", "--param-file", str(file), "-p", "size=huge", "--copy-from", "old")
    assert done.returncode == 0, done.stderr
    wanted = {"size": "huge", "gpu": "true", "cpus": "4", "tools": '["git"]'}
    assert sent(signed_in) == [wanted]
    same = tmp_path / "p.json"
    same.write_text(json.dumps({"gpu": False}))
    assert kled("start", "dev", "--param-file", str(same)).returncode == 0
    assert sent(signed_in, BUILD) == [{"gpu": "false"}]
    for text in ("{", "[1]", '{"a": {}}', '{"a": null}'):
        same.write_text(text)
        refused = kled("create", "dev", "--param-file", str(same))
        assert (refused.returncode, refused.stderr.count(b"\n")) == (2, 1), refused.stderr
