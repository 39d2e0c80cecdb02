"""What a state says of agents, and all that hangs on them."""

from __future__ import annotations

from typing import Any

import pytest

from kled_coord.builds.states.applied import applied_agents
from kled_wire.control.agent_spec import (
    AgentSpec,
    App,
    HealthCheck,
    MetadataItem,
    Script,
    Threshold,
)
from kled_wire.errors import InputError
from kled_wire.names import AgentId


def resource(address: str, *instances: dict[str, Any], module: str | None = None) -> dict[str, Any]:
    kind, name = address.split(".")
    many = len(instances) > 1
    return {
        "module": module,
        "mode": "managed",
        "type": kind,
        "name": name,
        "instances": [
            {"attributes": values, **({"index_key": index} if many else {})}
            for index, values in enumerate(instances)
        ],
    }


def of(*resources: dict[str, Any]) -> dict[str, AgentSpec]:
    found = applied_agents({"resources": list(resources)}, "b-1")
    return {agent.name: agent.spec for agent in found.values()}


AGENT = resource("coder_agent.main", {"id": "a", "os": "linux", "arch": "amd64"})


def test_an_agent_that_says_nothing_has_the_defaults() -> None:
    apps = ("vscode", "web_terminal", "ssh_helper", "port_forwarding_helper")
    expected = AgentSpec(build_id="b-1", name="main", os="linux", arch="amd64", display_apps=apps)
    assert of(AGENT) == {"main": expected}


SAYING_ALL = resource(
    "kled_agent.x",
    {
        "id": "a",
        "name": "dev",
        "os": "linux",
        "arch": "arm64",
        "dir": "/w",
        "env": {"A": "1"},
        "motd_file": "/etc/motd",
        "troubleshooting_url": "https://x",
        "connection_timeout": 7,
        "order": 2,
        "startup_script": "up",
        "startup_script_behavior": "blocking",
        "shutdown_script": "down",
        "metadata": [
            {"key": "cpu", "script": "c", "interval": 5, "timeout": 0, "order": 1},
            {"key": "m", "display_name": "M", "script": "m", "interval": 9, "timeout": 3},
        ],
        "display_apps": [{"vscode": False, "web_terminal": True}],
        "resources_monitoring": [
            {
                "memory": [{"enabled": True, "threshold": 80}],
                "volume": [
                    {"path": "/", "enabled": True, "threshold": 90},
                    {"path": "/off", "enabled": False, "threshold": 1},
                ],
            }
        ],
    },
)
SCRIPT = resource(
    "coder_script.s",
    {
        "id": "s",
        "agent_id": "a",
        "display_name": "S",
        "script": "run",
        "cron": "0 * * * *",
        "run_on_start": True,
        "start_blocks_login": True,
        "timeout": 30,
        "log_path": "/l",
        "after": ["t"],
    },
)


def test_all_that_is_said_of_an_agent_is_taken() -> None:
    other = resource("kled_script.other", {"id": "o", "agent_id": "of another", "script": "no"})
    spec = of(SAYING_ALL, other)["dev"]
    assert spec == AgentSpec(
        build_id="b-1",
        name="dev",
        os="linux",
        arch="arm64",
        directory="/w",
        env={"A": "1"},
        motd_file="/etc/motd",
        troubleshooting_url="https://x",
        connection_timeout_s=7,
        order=2,
        display_apps=("web_terminal",),
        scripts=(
            Script(
                id="startup_script",
                name="Startup script",
                script="up",
                run_on_start=True,
                blocks_login=True,
            ),
            Script(id="shutdown_script", name="Shutdown script", script="down", run_on_stop=True),
        ),
        metadata=(
            MetadataItem(
                key="cpu", display_name="cpu", script="c", interval_s=5, timeout_s=5, order=1
            ),
            MetadataItem(key="m", display_name="M", script="m", interval_s=9, timeout_s=3),
        ),
        thresholds=(Threshold(path="", percent=80), Threshold(path="/", percent=90)),
    )


def test_a_script_is_taken_after_the_agents_own() -> None:
    scripts = of(SAYING_ALL, SCRIPT)["dev"].scripts
    assert [script.id for script in scripts] == ["startup_script", "shutdown_script", "s"]
    assert scripts[2] == Script(
        id="s",
        name="S",
        script="run",
        cron="0 * * * *",
        run_on_start=True,
        blocks_login=True,
        timeout_s=30,
        log_path="/l",
        after=("t",),
    )


def test_variables_are_merged_in_the_order_of_their_addresses() -> None:
    def env(address: str, name: str, value: str, strategy: str = "replace") -> dict[str, Any]:
        values = {"agent_id": "a", "name": name, "value": value, "merge_strategy": strategy}
        return resource(address, values)

    agent = resource("coder_agent.main", {"id": "a", "env": {"OWN": "agent", "NO": None}})
    spec = of(
        env("coder_env.c", "PATH", "/c", "prepend"),
        env("coder_env.b", "PATH", "/b", "append"),
        env("coder_env.a", "PATH", "/a"),
        env("coder_env.d", "OWN", "env"),
        env("coder_env.e", "ONCE", "1", "error"),
        agent,
    )["main"]
    assert spec.env == {"PATH": "/c:/a:/b", "OWN": "agent", "ONCE": "1"}
    with pytest.raises(InputError, match=r"coder_env\.b: coder_env\.a sets X too"):
        of(agent, env("coder_env.a", "X", "1"), env("coder_env.b", "X", "2", "error"))


def test_an_app_is_taken_with_its_older_names() -> None:
    values = {
        "id": "p",
        "agent_id": "a",
        "slug": "code",
        "name": "Code",
        "relative_path": False,
        "url": "http://localhost:1",
        "share": "public",
        "healthcheck": [{"url": "http://localhost:1/h", "interval": 5, "threshold": 6}],
    }
    assert of(AGENT, resource("coder_app.code", values))["main"].apps == (
        App(
            id="p",
            slug="code",
            display_name="Code",
            url="http://localhost:1",
            subdomain=True,
            share="public",
            healthcheck=HealthCheck(url="http://localhost:1/h", interval_s=5, threshold=6),
        ),
    )


def test_an_older_agent_that_lets_nobody_in_before_it_is_ready_blocks() -> None:
    values = {"id": "a", "startup_script": "x", "login_before_ready": False}
    (script,) = of(resource("coder_agent.main", values))["main"].scripts
    assert script.blocks_login


def test_agents_are_named_after_their_resources() -> None:
    several = resource("coder_agent.My_Dev", {"id": "a"}, {"id": "b"})
    assert [*of(several)] == ["my-dev-0", "my-dev-1"]
    found = applied_agents({"resources": [several]}, "b")
    assert found[AgentId("a")].address == "coder_agent.My_Dev[0]"
    inner = resource("coder_agent.main", {"id": "b"}, module="module.x")
    with pytest.raises(InputError, match=r"coder_agent\.main and module\.x\.coder_agent\.main"):
        of(AGENT, inner)


def test_what_no_message_could_hold_is_refused() -> None:
    with pytest.raises(InputError, match=r"coder_agent\.main: .* the limit is"):
        of(resource("coder_agent.main", {"id": "a", "startup_script": "x" * (1 << 20)}))


def test_what_is_deposed_or_data_or_of_others_is_no_agent() -> None:
    deposed = resource("coder_agent.main", {"id": "old"})
    deposed["instances"][0]["deposed"] = "0000"
    data = {**resource("coder_agent.main", {"id": "d"}), "mode": "data"}
    assert of(deposed, data, resource("docker_container.main", {"id": "x"})) == {}
    assert applied_agents({}, "b") == {}
