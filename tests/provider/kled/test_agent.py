"""The agent's script, and what its configuration may be."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kled_provider.kled.agent import (
    KLED_AGENT,
    AgentResource,
    init_script,
    made_directory,
    name_diagnostics,
)
from kled_provider.plugin.diagnostics import MapKey
from kled_provider.plugin.resource import Context
from kled_provider.plugin.schema import Schema
from kled_provider.plugin.values import UNKNOWN, Values, conform_object
from tests.kit.examples import examples
from tests.provider.conftest import FakeHost


def run(script: str, **env: str) -> subprocess.CompletedProcess[str]:
    # `exec` of a function is not possible in sh: put a program in its place.
    script = script.replace("exec kled-agent run", "exec env")
    return subprocess.run(
        ["/bin/sh", "-c", script],
        env={"PATH": "/usr/bin:/bin", **env},
        capture_output=True,
        text=True,
        check=False,
    )


def nothing() -> Values:
    return conform_object({}, KLED_AGENT)


def test_the_script_needs_the_token_and_does_not_hold_it() -> None:
    script = init_script("https://kled.example", None, {})
    done = run(script)
    assert done.returncode != 0
    assert "KLED_AGENT_TOKEN" in done.stderr
    done = run(script, KLED_AGENT_TOKEN="t")
    assert "KLED_COORDINATOR_URL=https://kled.example\n" in done.stdout
    for name in ("KLED_AGENT_TOKEN", "CODER_AGENT_TOKEN"):
        assert "KLED_AGENT_TOKEN=t\n" in run(script, **{name: "t"}).stdout


def test_a_relative_directory_is_one_of_the_home(tmp_path: Path) -> None:
    home, elsewhere = tmp_path / "home", tmp_path / "elsewhere"
    home.mkdir()
    elsewhere.mkdir()
    script = init_script("https://x", "-src/it's", {}).replace("exec kled-agent run", "pwd")
    done = subprocess.run(
        ["/bin/sh", "-c", script],
        env={"PATH": "/usr/bin:/bin", "HOME": str(home), "KLED_AGENT_TOKEN": "t"},
        cwd=elsewhere,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == str(home / "-src/it's")
    assert list(elsewhere.iterdir()) == []
    # As cloud-init starts it: without HOME there is that of passwd(5).
    absolute = init_script("https://x", str(home), {}).replace("exec kled-agent run", "pwd")
    done = run(absolute, KLED_AGENT_TOKEN="t")
    assert (done.returncode, done.stdout.strip()) == (0, str(home))


@pytest.mark.parametrize(
    ("directory", "made"),
    [
        ("/work", "/work"),
        ("src", "src"),
        ("~/src", "src"),
        ("$HOME/src", "src"),
        ("${HOME}//src", "src"),
        ("~", ""),
        ("$HOME", ""),
        ("~me/x", "~me/x"),
        ("$HOMES/x", ""),
        ("/data/$USER", ""),
    ],
)
def test_a_directory_of_variables_is_made_where_a_script_can(directory: str, made: str) -> None:
    assert made_directory(directory) == made


@pytest.mark.slow
@settings(max_examples=examples(20), deadline=None)
@given(st.text(st.characters(exclude_categories=("Cs", "Cc"))))
def test_any_value_reaches_the_environment_unchanged(value: str) -> None:
    done = run(init_script("https://x", "/tmp", {"A": value}), KLED_AGENT_TOKEN="t")
    assert f"\nA={value}\n" in "\n" + done.stdout


@pytest.mark.parametrize("name", ["a", "a-b", "0", "a" * 32, None, UNKNOWN])
def test_good_names(name: object) -> None:
    assert name_diagnostics(name, "name") == []


@pytest.mark.parametrize("name", ["", "A", "-a", "a-", "a/b", "..", "a" * 33, "a\n", "ä"])
def test_bad_names(name: object) -> None:
    assert name_diagnostics(name, "name")[0].path == ("name",)


async def test_what_sessions_get_is_told_by_create_and_update_and_a_refresh_only_looks() -> None:
    host = FakeHost(directory=Path("/nowhere"))
    context = Context(host=host, keep=lambda _values: None, generation="g")
    planned = {**nothing(), "name": "main"}
    made = await AgentResource().create(context, planned)
    assert host.configured == {"a-main": ({}, None)}
    assert await AgentResource().read(context, made) == made
    wanted = {**planned, "env": {"A": "b"}, "dir": "src"}
    changed = await AgentResource().update(context, made, wanted)
    assert host.configured == {"a-main": ({"A": "b"}, "src")}
    host.configured["a-main"] = ({"A": "c"}, "src")
    found = await AgentResource().read(context, changed)
    assert found is not None
    assert (found["env"], found["dir"]) == ({"A": "c"}, "src")
    assert host.configured == {"a-main": ({"A": "c"}, "src")}


async def test_an_agent_that_a_later_create_adopted_is_neither_found_nor_released() -> None:
    host = FakeHost(directory=Path("/nowhere"))
    first = Context(host=host, keep=lambda _values: None, generation="one")
    planned = {**nothing(), "name": "main"}
    made = await AgentResource().create(first, planned)
    await AgentResource().create(replace(first, generation="two"), planned)
    assert await AgentResource().read(first, made) is None
    await AgentResource().delete(first, made)
    assert host.released == []
    await AgentResource().delete(replace(first, generation="two"), made)
    assert host.released == ["a-main"]


def test_each_mistake_has_its_path() -> None:
    config = {
        **nothing(),
        "os": "plan9",
        "arch": "vax",
        "env": {"A=B": "x", "OK": "a\0b", "NO": None, "FINE": "x", "LATER": UNKNOWN},
    }
    paths = {d.path for d in AgentResource().validate(config)}
    assert paths == {("os",), ("arch",)} | {("env", MapKey(k)) for k in ("A=B", "OK")}


async def test_a_variable_that_is_null_is_none_and_no_difference() -> None:
    host = FakeHost(directory=Path("/nowhere"))
    context = Context(host=host, keep=lambda _values: None, generation="g")
    planned = {**nothing(), "name": "main", "env": {"A": "b", "NO": None}}
    made = await AgentResource().create(context, planned)
    assert host.configured == {"a-main": ({"A": "b"}, None)}
    assert "export NO" not in made["init_script"]
    assert await AgentResource().read(context, made) == made


async def test_what_only_the_agent_can_fill_in_is_not_in_its_script() -> None:
    context = Context(
        host=FakeHost(directory=Path("/nowhere")), keep=lambda _values: None, generation="g"
    )
    env = {"A": "b", "PATH": "/opt/bin:$PATH"}
    planned = {**nothing(), "name": "main", "env": env, "dir": "$HOME/src"}
    script = (await AgentResource().create(context, planned))["init_script"]
    assert "export A=b" in script
    assert "export PATH" not in script
    assert "mkdir -p -- src\n" in script


async def test_one_without_a_name_is_another_agent_each_time() -> None:
    attributes = tuple(a for a in KLED_AGENT.attributes if a.name != "name")
    resource = AgentResource("x_agent", Schema(attributes=attributes, blocks=KLED_AGENT.blocks))
    assert resource.identity == ()
    host = FakeHost(directory=Path("/nowhere"))
    planned = conform_object({}, resource.schema)
    for generation in ("one", "two"):
        context = Context(host=host, keep=lambda _values: None, generation=generation)
        await resource.create(context, planned)
    assert sorted(host.agents) == ["unnamed-one", "unnamed-two"]


def test_two_metadata_blocks_of_one_key_are_told_at_the_second() -> None:
    blocks = [{"key": key, "script": "x", "interval": 1} for key in ("a", "b", "a")]
    (found,) = AgentResource().validate(conform_object({"metadata": blocks}, KLED_AGENT))
    assert found.path == ("metadata", 2, "key")
    assert AgentResource().validate(conform_object({"metadata": UNKNOWN}, KLED_AGENT)) == []
