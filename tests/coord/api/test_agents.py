"""Agents over the API: enrolling, what is shown of them, and their token."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from kled_coord.store.records import ScriptRun
from kled_coord.store.scripts import put_script_run
from kled_coord.workspaces.agents import AgentFacts
from kled_wire.errors import InputError, NotFoundError
from tests.coord.api.asking import PUBLIC_KEY, code, workspace


async def test_an_agent_enrolls_is_shown_and_pinged(api, make_tar) -> None:
    me, made = await workspace(api, make_tar)
    agent_id, token = await api.world.services.agents.ensure(made["id"], "main")
    shown = (await api.client.get("/api/v1/workspaces/dev", headers=me)).json()
    assert shown["agent"]["status"] == "never"
    answer = await api.client.post(
        "/api/v1/agent/enroll",
        json={
            "host_public_key": PUBLIC_KEY,
            "version": "1",
            "hostname": "box",
            "os": "linux",
            "arch": "x86_64",
            "of_tomorrow": 1,
        },
        headers={"Authorization": f"Bearer {token}"},
    )
    enrolled = answer.json()
    assert enrolled["agent_id"] == agent_id
    names = ["dev.kled", "dev.alice.kled", "main--dev.kled", "main--dev.alice.kled"]
    assert enrolled["names"] == names
    assert enrolled["host_certificate"].startswith("ssh-ed25519-cert-v01@openssh.com ")
    api.world.registry.connect(agent_id, api.world.clock())
    answer = await api.client.get("/api/v1/workspaces/dev/wait?for=agent", headers=me)
    assert (answer.json()["agent"]["status"], answer.json()["agent"]["rtt_ms"]) == ("connected", 2)
    answer = await api.client.get("/api/v1/workspaces/dev/ping", headers=me)
    assert answer.json()["coordinator_agent_ms"] == 2.5
    api.world.registry.drop(agent_id, "test")
    answer = await api.client.get("/api/v1/workspaces/dev/wait?timeout_s=0.01", headers=me)
    assert code(answer) == (503, "agent_not_connected")
    user = (await api.client.get("/api/v1/users/me", headers=me)).json()
    certified = await api.client.post(
        "/api/v1/ssh/certificates", json={"public_key": PUBLIC_KEY}, headers=me
    )
    assert certified.json()["principals"] == [f"user:{user['id']}"] == enrolled["principals"]
    assert certified.json()["ca_public_key"] == enrolled["user_ca"]


async def test_a_log_of_scripts_is_that_of_the_agent_that_is_named(api, make_tar) -> None:
    me, made = await workspace(api, make_tar)
    build_id = made["latest_build"]["id"]
    for name in ("main", "side"):
        agent_id, _ = await api.world.services.agents.ensure(made["id"], name)
        run = ScriptRun(
            agent_id=agent_id, run="r", build_id=build_id, script="c", name=f"of {name}",
            stage="start", state="succeeded", exit_code=0, note="", blocks_login=False,
            position=0, started_at=None, duration_s=0.1,
        )  # fmt: skip
        await api.world.services.store.write(put_script_run, run)
    for ref, names in (
        ("dev", {"of main", "of side"}), ("side--dev", {"of side"}), ("main--dev", {"of main"})
    ):  # fmt: skip
        listed = await api.client.get(f"/api/v1/workspaces/{ref}/scripts", headers=me)
        assert {run["name"] for run in listed.json()} == names
        log = await api.client.get(f"/api/v1/workspaces/{ref}/scripts/log", headers=me)
        lines = [json.loads(line)["script"]["name"] for line in log.text.splitlines()]
        assert set(lines) == names
    answer = await api.client.get("/api/v1/workspaces/ghost--dev/scripts/log", headers=me)
    assert code(answer) == (404, "agent_not_found")


async def test_a_hello_without_the_machine_leaves_what_was_enrolled(api, make_tar) -> None:
    me, made = await workspace(api, make_tar)
    agents = api.world.services.agents
    agent_id, token = await agents.ensure(made["id"], "main")
    await api.client.post(
        "/api/v1/agent/enroll",
        json={
            "host_public_key": PUBLIC_KEY,
            "version": "1",
            "hostname": "box",
            "os": "linux",
            "arch": "x86_64",
        },
        headers={"Authorization": f"Bearer {token}"},
    )
    facts = AgentFacts(version="2", hostname="", os="", arch="", address="192.0.2.1")
    await agents.connected(agent_id, facts)
    api.world.registry.connect(agent_id, api.world.clock())
    states = api.world.registry.states
    states[agent_id] = replace(states[agent_id], hostname="", os="", arch="")
    for connected in (True, False):
        if not connected:
            api.world.registry.drop(agent_id, "test")
        agent = (await api.client.get("/api/v1/workspaces/dev", headers=me)).json()["agent"]
        assert [agent[key] for key in ("hostname", "os", "arch")] == ["box", "linux", "x86_64"]


async def test_only_the_owner_gets_an_agents_token_and_that_is_recorded(api, make_tar) -> None:
    me, made = await workspace(api, make_tar)
    agent_id, token = await api.world.services.agents.ensure(made["id"], "main")
    url = "/api/v1/workspaces/dev.alice/agents/main/token"
    answer = await api.client.post(url, headers=me)
    assert answer.json() == {
        "agent_id": agent_id,
        "name": "main",
        "token": token,
        "coordinator_url": api.world.services.config.access_url,
    }
    assert answer.headers["cache-control"] == "no-store"
    missing = await api.client.post(url.replace("main", "other"), headers=me)
    assert code(missing) == (404, "agent_not_found")
    for name, role, refusal in (
        ("eve", "member", (404, "workspace_not_found")),
        ("root", "owner", (403, "forbidden")),
        ("log", "auditor", (403, "forbidden")),
    ):
        assert code(await api.client.post(url, headers=await api.login(name, role))) == refusal
    for scope in ("read", "ssh"):
        body = {"name": scope, "scopes": [scope]}
        made_token = (await api.client.post("/api/v1/tokens", json=body, headers=me)).json()
        narrow = {"Authorization": f"Bearer {made_token['token']}"}
        assert code(await api.client.post(url, headers=narrow)) == (403, "forbidden")
    rows = (await api.client.get("/api/v1/audit", headers=await api.login("a2", "auditor"))).json()
    told = [(row["user_name"], row["allowed"]) for row in rows if row["action"] == "agent.token"]
    assert sorted(told) == [
        ("alice", False),
        ("alice", False),
        ("alice", True),
        ("eve", False),
        ("log", False),
        ("root", False),
    ]
    assert token not in str(rows)


async def test_an_agent_is_told_what_its_sessions_get(api, make_tar) -> None:
    _, made = await workspace(api, make_tar)
    agents = api.world.services.agents
    agent_id, token = await agents.ensure(made["id"], "main")

    async def told() -> tuple[object, object]:
        answer = await api.client.post(
            "/api/v1/agent/enroll",
            json={
                "host_public_key": PUBLIC_KEY,
                "version": "1",
                "hostname": "b",
                "os": "linux",
                "arch": "arm64",
            },
            headers={"Authorization": f"Bearer {token}"},
        )
        return answer.json()["environment"], answer.json()["directory"]

    assert await told() == ({}, "")
    await agents.configure(made["id"], agent_id, environment={"A": "b"}, directory="src")
    assert await told() == ({"A": "b"}, "src")
    await agents.configure(made["id"], agent_id, environment={}, directory=None)
    assert await told() == ({}, "")
    with pytest.raises(InputError):
        await agents.configure(made["id"], agent_id, environment={"A": "b" * 65536}, directory=None)
    with pytest.raises(NotFoundError):
        await agents.configure("ws_other", agent_id, environment={}, directory=None)


async def test_an_agent_token_opens_nothing_else(api, make_tar) -> None:
    _, made = await workspace(api, make_tar)
    _, token = await api.world.services.agents.ensure(made["id"], "main")
    answer = await api.client.get(
        "/api/v1/workspaces", headers={"Authorization": f"Bearer {token}"}
    )
    assert code(answer) == (401, "token_unknown")
